"""Which target reaches which module: what `fuzz/run.py` measures, and what the tests ask for.

A module of mailbell stands here if it reads bytes or text from outside, or decides by them what
happens next. tests/test_fuzz.py has the reason for each other pure module, and fails for a module
that stands in neither.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["PARSERS"]

PARSERS: Final[Mapping[str, tuple[str, ...]]] = {
    "activation": ("_sys/systemd.py", "_sys/inheritance.py"),
    "agent_config": ("agent/configuration.py",),
    "client": (
        "client/_conversation.py", "client/_mailbelld.py", "sender_client/_sender.py",
        "sender_client/_watcher.py", "calling/exchange.py", "calling/explain.py",
        "interfaces/reply.py", "interfaces/sender_reply.py", "varlink/conversation.py",
    ),
    "cluster": ("cluster/messages.py", "cluster/inbox.py", "cluster/report.py"),
    "comsat": ("sender/_comsat.py",),
    "config": ("listener/configuration.py", "configuration/reader.py", "listener/_accounts.py"),
    "cyrus": ("sender/_cyrus_event.py",),
    "datagram": ("core/rfc4146.py",),
    "dbus": ("agent/_dbus.py",),
    "dns": ("sender/_dns_reply.py", "sender/_names.py"),
    "grammar_regex": ("core/rfc4146.py",),
    "hook": ("hook.py", "sender/_hook_line.py"),
    "hook_line": (
        "sender/_hook_line.py", "sender/_line_decoder.py", "sender/_dovecot_event.py",
        "sender/_requests.py",
    ),
    "inquiries": ("sender/_inquiries.py",),
    "limiter": ("limits/limiter.py", "limits/gate.py", "limits/gcra.py", "limits/proven.py"),
    "lines": ("agent/_lines.py",),
    "packet_filter": ("listener/_packet_filter.py", "core/translation.py", "core/rfc4146.py"),
    "policy": ("syscalls/policy_toml.py", "syscalls/policy.py"),
    "preset": ("agent/preset.py",),
    "proc": (
        "_sys/proof.py", "_sys/_stat.py", "_sys/port_holder.py", "_sys/local_listener.py",
        "agent/_processes.py", "agent/_session.py",
    ),
    "recipe": (
        "recipes/recipe.py", "recipes/facts.py", "recipes/steps.py", "recipes/state.py",
        "recipes/plain.py", "recipes/page.py",
    ),
    "resolv_conf": ("sender/_resolv_conf.py",),
    "rtnetlink": ("_sys/own_addresses.py", "agent/_rtnetlink.py"),
    "sender_config": ("sender/configuration.py", "sender/_accounts.py"),
    "store": ("sender/_store_file.py", "sender/_store.py", "sender/_database.py"),
    "stream": ("core/rfc4146.py",),
    "values": (
        "configuration/values.py", "core/networks.py", "core/account_name.py", "core/mailbox.py",
        "core/escape.py", "sender/_host_port.py", "sender/_values.py", "sender/_store_url.py",
    ),
    "varlink": (
        "varlink/_codec.py", "varlink/_json.py", "varlink/_message.py", "varlink/interface.py",
        "varlink/service.py", "varlink/_errors.py", "interfaces/listener.py",
        "interfaces/sender.py",
    ),
    "xpi": ("addon/xpi.py",),
    "varlink_foreign": ("varlink/_codec.py", "varlink/_json.py", "varlink/_message.py"),
}  # fmt: skip
"""The modules of each target, by their paths in src/mailbell."""
