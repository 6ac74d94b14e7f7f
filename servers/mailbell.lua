-- Tells mailbell-sender that mail has been delivered. For Dovecot 2.3 and 2.4 (push_notification_lua).
--
-- Dovecot calls these functions inside the delivery, in this order: begin_txn, event_message_new
-- for each mail, end_txn when the mail is in the mailbox. So nothing here waits, and no error
-- leaves a function: whatever happens, the mail is delivered, and Dovecot's log has a warning.
--
-- It needs Debian's package lua-socket. The line that it sends is in mailbell's docs/inputs.md.

local HOOK = "/run/mailbell-sender/hook"
local LONGEST = 512 -- bytes of a line, without its LF

-- Modules are looked for in folders with absolute paths only. Lua's own paths end with the
-- working directory, which may be a folder that a user can write.
local function absolute(path)
  local kept = {}
  for place in path:gmatch("[^;]+") do
    if place:sub(1, 1) == "/" then
      kept[#kept + 1] = place
    end
  end
  return table.concat(kept, ";")
end

-- Characters that mailbell-sender does not take in a folder's name: controls, spaces that are
-- not U+0020, marks without a width, private characters. Each pair is a first and a last one.
local REFUSED = {
  { 0x00, 0x1f }, { 0x7f, 0xa0 }, { 0xad, 0xad }, { 0x600, 0x605 }, { 0x61c, 0x61c }, { 0x1680, 0x1680 },
  { 0x180e, 0x180e }, { 0x2000, 0x200f }, { 0x2028, 0x202f }, { 0x205f, 0x206f }, { 0x3000, 0x3000 },
  { 0xd800, 0xf8ff }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb }, { 0xe0000, 0x7fffffff },
}

-- Returns the character, or "?" in place of one that the sender would refuse.
local function printable(character)
  local code = utf8.codepoint(character)
  for _, range in ipairs(REFUSED) do
    if code >= range[1] and code <= range[2] then
      return "?"
    end
  end
  return character
end

-- Returns the folder's name as the sender takes it. Who receives mail chooses the names of
-- folders: one with an LF in it must not become a second line.
local function folder_of(name)
  if not name:find("[^!-~]") then
    return name
  end
  if not utf8.len(name) then
    name = name:gsub("[\128-\255]", "?")
  end
  name = name:gsub(utf8.charpattern, printable)
  return (name:gsub("^ +", ""):gsub(" +$", ""))
end

-- Returns the line that says it.
local function line_of(user, folder)
  local line = "new " .. user
  if folder ~= "" then
    line = line .. " " .. folder
  end
  if #line > LONGEST then -- cut where a character begins
    local last = LONGEST
    while last > 0 and line:byte(last + 1) & 0xc0 == 0x80 do
      last = last - 1
    end
    line = line:sub(1, last):gsub(" +$", "")
  end
  return line .. "\n"
end

-- Sends the line. Returns why it could not, or nil. A socket that is full refuses at once.
local function tell(user, folder)
  if user:find("[%c ]") or user == "" then
    return "the name of an account has no white space"
  end
  local line = line_of(user, folder_of(folder))
  package.path, package.cpath = absolute(package.path), absolute(package.cpath)
  local made = require("socket.unix").stream()
  made:settimeout(0)
  local done, why = made:connect(HOOK)
  if done then
    done, why = made:send(line)
  end
  made:close()
  if not done then
    return why or "refused"
  end
end

-- Writes one line to Dovecot's log. It has no name in it: Dovecot puts the user in front.
local function warn(why)
  local first = tostring(why):match("^[^\n]*")
  dovecot.i_warning("mailbell: not told: " .. HOOK .. ": " .. first)
end

function dovecot_lua_notify_begin_txn(user)
  return { user = user.username }
end

function dovecot_lua_notify_event_message_new(mails, event)
  mails.folder = event.mailbox
end

function dovecot_lua_notify_end_txn(mails, success)
  if success and mails.folder then
    local ran, why = pcall(tell, mails.user, mails.folder)
    if why then
      pcall(warn, why)
    end
  end
end
