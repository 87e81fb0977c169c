"""Plays systemd for `mailferry serve` while clients connect all the time: keeps the sockets that it is handed (file
descriptor store), stops it, starts it again with them.

Standard input: {"binary": FILE, "config": FILE, "log": FILE, "folder": DIR, "ports": [N, ...], "stores": BOOL, "limit": SECONDS};
standard output: {"greeted": N, "refused": N, "failed": N, "stored": N, "stored_again": N}.
"""
import array
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

JOB = json.load(sys.stdin)
NOTIFY = os.path.join(JOB["folder"], "notify")
LISTENER = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
LISTENER.bind(NOTIFY)
LISTENER.settimeout(JOB["limit"])
LOG = open(JOB["log"], "ab")

# LISTEN_PID must be the daemon's own: it is set by what becomes the daemon.
BECOME = """
import fcntl, os, sys
given = [int(fd) for fd in sys.argv[1].split()]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in given]
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
os.execv(sys.argv[2], sys.argv[2:])
"""


def start(fds):
    command = [JOB["binary"], "--config", JOB["config"], "serve"]
    environment = dict(os.environ, NOTIFY_SOCKET=NOTIFY)
    if fds:
        command = [sys.executable, "-c", BECOME, " ".join(map(str, fds)), *command]
    return subprocess.Popen(command, env=environment, pass_fds=fds, stdout=LOG, stderr=LOG, stdin=subprocess.DEVNULL)


def until_ready():
    """The store as it is when the daemon says that it is ready."""
    store = {}
    while True:
        message, ancillary, _, _ = LISTENER.recvmsg(4096, socket.CMSG_SPACE(64 * 4))
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data)
        lines = dict(line.split("=", 1) for line in message.decode().split("\n") if line)
        if lines.get("FDSTORE") == "1":
            assert len(fds) == 1 and ":" not in lines["FDNAME"], (lines, fds)
            store[lines["FDNAME"]] = fds[0]
        if lines.get("FDSTOREREMOVE") == "1":
            os.close(store.pop(lines["FDNAME"]))
        if lines.get("READY") == "1":
            return store


COUNT = {"greeted": 0, "refused": 0, "failed": 0}
LOCK = threading.Lock()
OVER = threading.Event()


def hammer(port):
    while not OVER.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=JOB["limit"]) as client:
                greeting = client.makefile("rb").readline()
            how = "greeted" if greeting.startswith(b"* OK ") else "failed"
        except ConnectionRefusedError:
            how = "refused"
        except OSError:
            how = "failed"
        with LOCK:
            COUNT[how] += 1
        time.sleep(0.002)


def greeted(more):
    with LOCK:
        wanted = COUNT["greeted"] + more
    deadline = time.monotonic() + JOB["limit"]
    while COUNT["greeted"] < wanted:
        assert time.monotonic() < deadline, COUNT
        time.sleep(0.01)


def stop(daemon):
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(JOB["limit"]) == 0


daemon = start([])
store = until_ready()
stored = len(store)
if not JOB["stores"]:
    for name in list(store):
        os.close(store.pop(name))
clients = [threading.Thread(target=hammer, args=(port,), daemon=True) for port in JOB["ports"] for _ in range(3)]
try:
    for client in clients:
        client.start()
    greeted(50)
    stop(daemon)
    daemon = start(list(store.values()))
    again = until_ready()
    greeted(50)
    OVER.set()
    for client in clients:
        client.join(JOB["limit"])
    stop(daemon)
finally:
    if daemon.poll() is None:
        daemon.kill()
        daemon.wait()
print(json.dumps(dict(COUNT, stored=stored, stored_again=len(again))))
