#!/usr/bin/env bash
# Make the root directory of a mail server or program, and keep it until standard input ends.
#
#   root.sh FOLDER SUITE [PACKAGE...]     (in a mount namespace of its own)
#
# FOLDER/root is then this host's own Debian (SUITE is "-") or an unpacked one of another suite,
# with the packages. Everything lies in memory and is gone when the namespace ends. The only
# output is "made"; what apt says is in FOLDER/apt.log.
set -euo pipefail
folder=$1 suite=$2
shift 2
root=$folder/root

here() { # here PACKAGE...: packages over this host's Debian, with their maintainer scripts
  mkdir -p "$folder"/{upper/etc,work,root}
  # Some mail servers ask a name server for their own name otherwise, and wait for it: Sendmail
  # already when it is installed, a minute for the name of this host.
  {
    echo "127.0.1.1 $(hostname).test.example $(hostname)"
    cat /etc/hosts
    echo "192.0.2.1 mail.test.example mail"
  } >"$folder/upper/etc/hosts"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
  devices
  [ $# = 0 ] || within apt-get install -qq -y -o Acquire::Retries=10 --no-install-recommends -o Dpkg::Use-Pty=0 "$@"
}

other() { # other SUITE PACKAGE...: unpacked and not configured; its users are made here
  local suite=$1 mirrors mirror security kind
  shift
  mirrors=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages')
  mirror=$(grep -m 1 '/debian/*$' <<<"$mirrors")
  security=$(grep -m 1 '/debian-security/*$' <<<"$mirrors" || true)
  mmdebstrap --quiet --variant=extract --aptopt='Acquire::Retries "10"' "$suite" "$root" \
    "deb $mirror $suite main" ${security:+"deb $security $suite-security main"} \
    --include="$(IFS=,; echo "$*"),base-passwd,base-files,bash,dash,coreutils,libc-bin"
  # To leave these out while unpacking takes twice as long: each package goes through a filter.
  rm -rf "$root"/usr/share/{man,doc,locale}
  cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  echo "192.0.2.1 mail.test.example mail" >>"$root/etc/hosts"
  # runuser(1) reads what libpam-runtime would make. Nobody logs in on this machine.
  mkdir -p "$root/etc/pam.d"
  for kind in account auth password session session-noninteractive; do
    echo "${kind%-*} required pam_permit.so" >"$root/etc/pam.d/common-$kind"
  done
  devices
}

devices() { # a /dev, /proc and /run that are not the host's
  local name
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  mkdir "$root"/dev/{pts,shm}
  chmod 1777 "$root/dev/shm"
  for name in full null random tty urandom zero; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
  done
  ln -s /proc/self/fd "$root/dev/fd"
  ln -s /proc/self/fd/0 "$root/dev/stdin"
  ln -s /proc/self/fd/1 "$root/dev/stdout"
  ln -s /proc/self/fd/2 "$root/dev/stderr"
}

within() { # within COMMAND...: in the root, with the host's network
  # What is installed is not started, and the index of manual pages is not made anew.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  rm -f "$root/var/lib/man-db/auto-update"
  env --chdir=/ -u LD_PRELOAD PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive \
    chroot "$root" "$@"
}

mount -t tmpfs -o mode=755,size=3g tmpfs "$folder"
exec 3>&1 >"$folder/apt.log" 2>&1
trap '[ $? = 0 ] || tail -n 20 "$folder/apt.log" >&3' EXIT
if [ "$suite" = - ]; then here "$@"; else other "$suite" "$@"; fi </dev/null
trap - EXIT
echo made >&3
exec cat >/dev/null 3>&-
