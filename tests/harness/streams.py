"""Runs a program with one standard stream whose other end is slow: non-blocking and of one page.

    streams.py STREAM KIND HOW PROGRAM ARGS...

STREAM is stdin, stdout or stderr. KIND is pipe or socket. HOW:
  slow     the other end does nothing until the program has ended or waits; then it copies between
           the stream and the standard streams of this script
  unread   the other end is never read
  closed   the other end is closed from the start
Standard error is full from the start. Ends as the program does.
"""
import fcntl
import os
import select
import socket
import subprocess
import sys

SET_PIPE_SIZE = 1031


def non_blocking(descriptor):
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)


def pair(stream, kind):
    """The program's end, and ours."""
    if kind == "socket":
        theirs, ours = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return theirs.detach(), ours.detach()
    read, write = os.pipe()
    fcntl.fcntl(write, SET_PIPE_SIZE, 4096)
    return (read, write) if stream == "stdin" else (write, read)


def fill(descriptor):
    filled = 0
    try:
        while True:
            filled += os.write(descriptor, b"." * 512)
    except BlockingIOError:
        return filled


stream, kind, how, *words = sys.argv[1:]
theirs, ours = pair(stream, kind)
non_blocking(theirs)
filled = fill(theirs) if stream == "stderr" else 0
streams = {"stdin": None, "stdout": None, "stderr": None, stream: theirs}
if how == "closed":
    os.close(ours)
child = subprocess.Popen(words, **streams)
os.close(theirs)
if how in ("unread", "closed"):
    sys.exit(child.wait())
try:
    child.wait(timeout=0.3)
except subprocess.TimeoutExpired:
    pass
source, target = (0, ours) if stream == "stdin" else (ours, 1)
while piece := os.read(source, 65536):
    skipped = min(filled, len(piece))
    filled -= skipped
    piece = piece[skipped:]
    while piece:
        try:
            piece = piece[os.write(target, piece) :]
        except BrokenPipeError:
            sys.exit(child.wait())
        except BlockingIOError:
            select.select([], [target], [])
os.close(ours)
sys.exit(child.wait())
