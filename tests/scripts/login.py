"""Logs in through the proxy by one form of login, byte by byte as written here, and out again.

Standard input: {"port": N, "ca": FILE, "user": U, "password": P, "form": NAME}; standard output: {"answer": TEXT}.
"""
import base64
import json
import socket
import ssl
import sys

JOB = json.load(sys.stdin)
USER, PASSWORD = JOB["user"].encode(), JOB["password"].encode()
RAW = socket.create_connection(("localhost", JOB["port"]), timeout=60)
LINE = ssl.create_default_context(cafile=JOB["ca"]).wrap_socket(RAW, server_hostname="localhost")
READER = LINE.makefile("rb")


def quoted(text):
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def coded(text):
    return base64.b64encode(text)


def say(text):
    LINE.sendall(text + b"\r\n")


def go_on():
    answer = READER.readline()
    assert answer.startswith(b"+"), answer


def quoted_strings():
    say(b"a LOGIN " + quoted(USER) + b" " + quoted(PASSWORD))


def literals():
    say(b"a LOGIN {%d}" % len(USER))
    go_on()
    say(USER + b" {%d}" % len(PASSWORD))
    go_on()
    say(PASSWORD)


def literals_plus():
    say(b"a LOGIN {%d+}\r\n%s {%d+}\r\n%s" % (len(USER), USER, len(PASSWORD), PASSWORD))


def plain():
    say(b"a AUTHENTICATE PLAIN")
    go_on()
    say(coded(b"\0" + USER + b"\0" + PASSWORD))


def plain_at_once():
    say(b"a AUTHENTICATE PLAIN " + coded(USER + b"\0" + USER + b"\0" + PASSWORD))


def sasl_login():
    say(b"a AUTHENTICATE LOGIN")
    go_on()
    say(coded(USER))
    go_on()
    say(coded(PASSWORD))


READER.readline()
{
    "quoted": quoted_strings,
    "literals": literals,
    "literals-plus": literals_plus,
    "plain": plain,
    "plain-at-once": plain_at_once,
    "sasl-login": sasl_login,
}[JOB["form"]]()
ANSWER = READER.readline()
while not ANSWER.startswith(b"a "):
    ANSWER = READER.readline()
say(b"b LOGOUT")
READER.read()
json.dump({"answer": ANSWER.decode().strip()}, sys.stdout)
