"""Reads two IMAP accounts entirely and compares them folder by folder. Knows nothing of Mailferry.

Standard input: {"source": SERVER, "target": SERVER, "folders": {source name: target name}, "ca": FILE}
SERVER: {"port": N, "user": U, "password": P | "token": T}
Standard output: one JSON object; see `Account` in account.rs.
"""
import calendar
import collections
import hashlib
import imaplib
import json
import re
import ssl
import sys
import time

SYSTEM = {"\\seen", "\\answered", "\\flagged", "\\deleted", "\\draft"}
SPECIAL = {"Sent": "Sent Items", "Trash": "Deleted Items", "Junk": "Junk Email", "Drafts": "Drafts"}
CHUNK_BYTES = 8_000_000
CHUNK_MESSAGES = 200


def connect(server, ca):
    context = ssl.create_default_context(cafile=ca)
    imap = imaplib.IMAP4_SSL("localhost", server["port"], ssl_context=context, timeout=120)
    if "token" in server:
        word = f"user={server['user']}\x01auth=Bearer {server['token']}\x01\x01".encode()
        imap.authenticate("XOAUTH2", lambda _: word)
    else:
        imap.login(server["user"], server["password"])
    return imap


def folders(imap):
    """Names as on the wire, with their separator."""
    found = []
    for line in imap.list('""', '"*"')[1]:
        if line is None:
            continue
        if isinstance(line, tuple):
            head, name = line
        else:
            head, name = line, None
        match = re.match(rb'\(([^)]*)\) ("(?:\\.|[^"\\])"|NIL) (.*)$', head, re.S)
        attributes, separator, rest = match.groups()
        if name is None:
            name = re.sub(rb"\\(.)", rb"\1", rest[1:-1]) if rest.startswith(b'"') else rest
        if b"\\noselect" in attributes.lower():
            continue
        separator = "" if separator == b"NIL" else re.sub(rb"\\(.)", rb"\1", separator[1:-1]).decode()
        found.append((name.decode("utf-8", "surrogateescape"), separator))
    return found


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def moment(text):
    """Seconds since the epoch of an INTERNALDATE."""
    day, clock, zone = text.split()
    when = time.strptime(f"{day} {clock}", "%d-%b-%Y %H:%M:%S")
    offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * 60
    return calendar.timegm(when) - (offset if zone[0] == "+" else -offset)


def check(answer):
    kind, data = answer
    if kind != "OK":
        raise RuntimeError(f"{kind} {data}")
    return data


def messages(imap, name):
    """[(sha256, date, flags, uid, size)]"""
    check(imap.select(quoted(name), readonly=True))
    sizes = []
    if int(imap.untagged_responses["EXISTS"][-1] or 0) == 0:
        return []
    for line in check(imap.uid("FETCH", "1:*", "(UID RFC822.SIZE)")):
        if line:
            text = line.decode() if isinstance(line, bytes) else line[0].decode()
            uid, size = re.search(r"UID (\d+)", text), re.search(r"RFC822\.SIZE (\d+)", text)
            if uid and size:
                sizes.append((int(uid[1]), int(size[1])))
    sizes.sort()
    chunk, weight, seen = [], 0, []
    for uid, size in sizes + [(None, 0)]:
        if chunk and (uid is None or weight + size > CHUNK_BYTES or len(chunk) >= CHUNK_MESSAGES):
            seen += fetch(imap, chunk)
            chunk, weight = [], 0
        if uid is not None:
            chunk.append(uid)
            weight += size
    if len(seen) != len(sizes):
        raise RuntimeError(f"{name}: {len(sizes)} messages listed, {len(seen)} read")
    return seen


def fetch(imap, uids):
    numbers = ",".join(map(str, uids)) if len(uids) < 3 else f"{uids[0]}:{uids[-1]}"
    found = []
    for part in check(imap.uid("FETCH", numbers, "(UID FLAGS INTERNALDATE BODY.PEEK[])")):
        if not isinstance(part, tuple):
            continue
        head, body = part
        head = head.decode("utf-8", "replace")
        uid = int(re.search(r"UID (\d+)", head)[1])
        flags = {flag.lower() for flag in re.search(r"FLAGS \(([^)]*)\)", head)[1].split()}
        date = moment(re.search(r'INTERNALDATE "([^"]*)"', head)[1])
        found.append((hashlib.sha256(body).hexdigest(), date, " ".join(sorted(flags & SYSTEM)), uid, len(body)))
    return found


def mapped(name, separator, given):
    if name in given:
        return given[name]
    if name.upper() == "INBOX":
        return "INBOX"
    if name in SPECIAL:
        return SPECIAL[name]
    return name.replace(separator, "/") if separator else name


def main():
    job = json.load(sys.stdin)
    source, target = connect(job["source"], job["ca"]), connect(job["target"], job["ca"])
    wanted = {mapped(name, separator, job["folders"]): name for name, separator in folders(source)}
    present = {"INBOX" if name.upper() == "INBOX" else name for name, _ in folders(target)}
    result = {"folders": {}, "missing": [], "extra": [], "changed": [], "absent": [],
              "source_messages": 0, "target_messages": 0, "bytes": 0}
    for there in sorted(set(wanted) | present):
        here = wanted.get(there)
        ours = messages(source, here) if here is not None else []
        if there not in present and here is not None:
            result["absent"].append(here)
        theirs = messages(target, there) if there in present else []
        result["source_messages"] += len(ours)
        result["target_messages"] += len(theirs)
        result["bytes"] += sum(message[4] for message in ours)
        if ours or theirs:
            result["folders"][there] = {"source": len(ours), "target": len(theirs)}
        compare(there, ours, theirs, result)
    source.logout()
    target.logout()
    json.dump(result, sys.stdout)


def compare(folder, ours, theirs, result):
    left = collections.Counter(message[:3] for message in ours)
    right = collections.Counter(message[:3] for message in theirs)
    lacking, surplus = left - right, right - left
    facts = {message[:3]: message[3:] for message in theirs}
    facts.update({message[:3]: message[3:] for message in ours})
    bodies = collections.defaultdict(list)
    for key in surplus.elements():
        bodies[key[0]].append(key)
    unmatched = collections.Counter(surplus)
    for key in lacking.elements():
        uid, size = facts[key]
        entry = {"folder": folder, "uid": uid, "size": size, "sha256": key[0], "date": key[1], "flags": key[2]}
        if bodies[key[0]]:
            other = bodies[key[0]].pop()
            unmatched[other] -= 1
            entry["is"] = {"date": other[1], "flags": other[2]}
            result["changed"].append(entry)
        else:
            result["missing"].append(entry)
    for key in unmatched.elements():
        uid, size = facts[key]
        result["extra"].append({"folder": folder, "uid": uid, "size": size, "sha256": key[0], "date": key[1],
                                "flags": key[2]})


main()
