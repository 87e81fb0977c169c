"""A mail client by Python's imaplib, for tests of the proxy.

Standard input: {"port": N, "user": U, "password": P, "ca": FILE, "do": NAME, ...}; standard output: one JSON object.
"""
import hashlib
import imaplib
import json
import os
import random
import re
import signal
import ssl
import sys
import time

JOB = json.load(sys.stdin)


def connect():
    context = ssl.create_default_context(cafile=JOB["ca"])
    if JOB.get("starttls"):
        imap = imaplib.IMAP4("localhost", JOB["port"], timeout=60)
        imap.starttls(context)
    else:
        imap = imaplib.IMAP4_SSL("localhost", JOB["port"], ssl_context=context, timeout=60)
    if JOB.get("mechanism") == "PLAIN":
        word = f"\0{JOB['user']}\0{JOB['password']}".encode()
        imap.authenticate("PLAIN", lambda _: word)
    else:
        imap.login(JOB["user"], JOB["password"])
    return imap


def check(answer):
    kind, data = answer
    # Another client of the same mailbox deleted the message meanwhile: the server says so, and nothing is wrong.
    if kind == "NO" and b"[EXPUNGEISSUED]" in (data[0] or b""):
        return data
    if kind != "OK":
        raise RuntimeError(f"{kind} {data}")
    return data


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fetch():
    """Downloads a folder's messages (all, or the UIDs of "uids")."""
    imap = connect()
    check(imap.select(quoted(JOB["folder"])))
    found = {}
    for part in check(imap.uid("FETCH", JOB.get("uids", "1:*"), JOB.get("items", "(UID BODY.PEEK[])"))):
        if isinstance(part, tuple):
            uid = int(re.search(rb"UID (\d+)", part[0])[1])
            found[uid] = hashlib.sha256(part[1]).hexdigest()
    imap.logout()
    return {"bodies": found}


def message(number, size):
    text = f"From: ann.beebe@contoso.edu\r\nSubject: live {number}\r\nMessage-ID: <live.{number}.{os.getpid()}@contoso.edu>\r\n\r\n"
    filler = ("0123456789abcdef" * 4 + "\r\n") * (size // 66 + 1)
    return (text + filler)[: max(size, len(text) + 2) - 2].encode().rstrip(b"\r\n") + b"\r\n"


def append():
    """Appends "count" messages of "size" bytes; tells their digests and when the last was accepted."""
    imap = connect()
    digests = []
    for number in range(JOB.get("count", 1)):
        body = message(f"{JOB.get('name', 'append')}-{number}", JOB.get("size", 2000))
        check(imap.append(quoted(JOB["folder"]), JOB.get("flags", "(\\Seen)"), None, body))
        digests.append(hashlib.sha256(body).hexdigest())
    at = time.time()
    imap.logout()
    return {"digests": digests, "at": at}


def live():
    """Works as a busy user until SIGTERM. With "tolerant" it connects again after a break, else that is an error."""
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    dice = random.Random(JOB.get("seed", 1))
    done, breaks, errors, slowest = 0, 0, [], 0.0
    imap = None
    number = 0
    print("ready", flush=True)
    while not stopping and len(errors) < 5:
        started = time.time()
        try:
            if imap is None:
                imap = connect()
                check(imap.select("INBOX"))
            number += 1
            step(imap, dice, number)
            done += 1
            slowest = max(slowest, time.time() - started)
        except (imaplib.IMAP4.abort, OSError) as error:
            breaks += 1
            imap = None
            if not JOB.get("tolerant"):
                errors.append(f"{type(error).__name__}: {error}")
            time.sleep(0.05)
        except (imaplib.IMAP4.error, RuntimeError) as error:
            errors.append(f"{type(error).__name__}: {error}")
        time.sleep(JOB.get("pause", 0.01))
    try:
        if imap is not None:
            imap.logout()
    except (imaplib.IMAP4.error, OSError):
        pass
    return {"done": done, "breaks": breaks, "errors": errors, "slowest": slowest}


def step(imap, dice, number):
    choice = dice.randrange(10)
    if choice < 3:
        check(imap.append("INBOX", "", None, message(f"{JOB.get('seed', 1)}-{number}", dice.choice([500, 5_000, 120_000]))))
    elif choice < 6:
        uids = check(imap.uid("SEARCH", None, "ALL"))[0].split()
        if uids:
            check(imap.uid("FETCH", dice.choice(uids).decode(), "(UID FLAGS BODY.PEEK[])"))
    elif choice == 6:
        uids = check(imap.uid("SEARCH", None, "ALL"))[0].split()
        if uids:
            flag = dice.choice(["\\Seen", "\\Flagged", "\\Answered"])
            check(imap.uid("STORE", dice.choice(uids).decode(), dice.choice(["+FLAGS", "-FLAGS"]), f"({flag})"))
    elif choice == 7 and JOB.get("deletes", True):
        uids = check(imap.uid("SEARCH", None, "SUBJECT", '"live"'))[0].split()
        if uids:
            check(imap.uid("STORE", uids[0].decode(), "+FLAGS", "(\\Deleted)"))
            check(imap.uid("EXPUNGE", uids[0].decode()))
    elif choice == 8:
        uids = check(imap.uid("SEARCH", None, "ALL"))[0].split()
        if uids:
            check(imap.uid("COPY", dice.choice(uids).decode(), '"Sent"'))
    else:
        check(imap.noop())


json.dump({"fetch": fetch, "append": append, "live": live}[JOB["do"]](), sys.stdout)
