"""Runs a program that sees a directory through a file system for which some operations fail.

Usage: faulty.py DIRECTORY [OPERATION[@N][,OPERATION...]=ERRNO ...] -- PROGRAM [ARGUMENT...]

With `@N` an operation fails from its N-th request on. The program alone, in mounts of its own, sees
the file system; all others see the directory itself. It speaks the protocol of /dev/fuse, see
linux/fuse.h, and needs no library for that. Ends with 99 where that cannot be mounted.
"""

import ctypes
import errno
import fcntl
import os
import resource
import stat
import struct
import sys

UNTRIED = 99
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
ROOT, MAX_WRITE, HEADER = 1, 131072, struct.Struct("<IIQQIIII")
# FUSE_ASYNC_READ, FUSE_ATOMIC_O_TRUNC, FUSE_BIG_WRITES, FUSE_FLOCK_LOCKS
INIT_FLAGS = 1 | 8 | 32 | 1 << 10
SET_MODE, SET_OWNER, SET_SIZE, SET_TIMES, HAS_HANDLE = 1, 2 | 4, 8, 16 | 32, 64
SET_ATIME, SET_MTIME, ATIME_NOW, MTIME_NOW = 16, 32, 128, 256
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
LOCK_IS_FLOCK = 1
NO_ANSWER = object()


def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def names(data, count):
    return data.split(b"\0")[:count]


class FileSystem:
    """Passes on to a directory what no rule refuses."""

    def __init__(self, directory, rules):
        self.nodes = {ROOT: os.open(directory, os.O_PATH | os.O_DIRECTORY)}
        self.counts, self.numbers, self.open, self.next = {}, {}, {}, ROOT
        self.rules = {}
        for rule in rules:
            operations, _, error = rule.partition("=")
            for operation in operations.split(","):
                name, _, first = operation.partition("@")
                if not hasattr(FileSystem, "do_" + name) and name not in PARTS:
                    sys.exit(f"faulty.py: no operation {name}")
                self.rules[name] = [int(first or 1), getattr(errno, error)]

    def serve(self, device):
        while True:
            try:
                request = os.read(device, MAX_WRITE + 8192)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # ENODEV: it is not mounted any more.
            _, operation, unique, node, *_ = HEADER.unpack_from(request)
            try:
                code, answer = 0, self.answer(OPERATIONS.get(operation), node, request[HEADER.size :])
            except OSError as error:
                code, answer = -error.errno, b""
            if answer is NO_ANSWER:
                continue
            try:
                os.write(device, struct.pack("<IiQ", 16 + len(answer), code, unique) + answer)
            except OSError as error:
                if error.errno != errno.ENOENT:  # ENOENT: nobody waits for it.
                    return

    def answer(self, name, node, data):
        if name is None:
            raise OSError(errno.ENOSYS, "unknown")
        if name != "setattr":
            self.check(name)
        return getattr(self, "do_" + name)(node, data) or b""

    def check(self, name):
        if rule := self.rules.get(name):
            rule[0] -= 1
            if rule[0] <= 0:
                raise OSError(rule[1], "refused")

    def path(self, node):
        return f"/proc/self/fd/{self.nodes[node]}"

    def keep(self, descriptor):
        self.next += 1
        self.open[self.next] = descriptor
        return self.next

    def attributes(self, of):
        s = os.stat(of)
        times = [s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns]
        return struct.pack(
            "<6Q10I", s.st_ino, s.st_size, s.st_blocks, *(t // 10**9 % 2**64 for t in times),
            *(t % 10**9 for t in times),
            s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_rdev, s.st_blksize, 0,
        )  # fmt: skip

    def entry(self, node, name):
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.nodes[node])
        s = os.stat(descriptor)
        key = (s.st_dev, s.st_ino)
        if key in self.numbers:
            os.close(descriptor)
        else:
            self.next += 1
            self.numbers[key], self.nodes[self.next] = self.next, descriptor
        number = self.numbers[key]
        self.counts[number] = self.counts.get(number, 0) + 1
        # Nothing is to be remembered: every look is a request.
        return struct.pack("<4Q2I", number, 0, 0, 0, 0, 0) + self.attributes(self.nodes[number])

    def forget(self, node, count):
        self.counts[node] = self.counts.get(node, 0) - count
        if node != ROOT and self.counts[node] <= 0:
            descriptor = self.nodes.pop(node)
            if -node in self.open:
                os.close(self.open.pop(-node))
            s = os.stat(descriptor)
            del self.counts[node], self.numbers[(s.st_dev, s.st_ino)]
            os.close(descriptor)

    def handle(self, node, number):
        """The descriptor of a handle; of a node where the kernel opens without asking: it does after ENOSYS."""
        if number == 0:
            number = -node
            if number not in self.open:
                is_directory = stat.S_ISDIR(os.stat(self.nodes[node]).st_mode)
                self.open[number] = os.open(self.path(node), os.O_RDONLY if is_directory else os.O_RDWR)
        return self.open[number]

    def opened(self, node, flags):
        flags &= ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_DIRECT)
        return struct.pack("<QII", self.keep(os.open(self.path(node), flags)), 0, 0)

    def do_init(self, _, data):
        readahead = struct.unpack_from("<III", data)[2]
        return struct.pack("<4I2H2I2H8I", 7, 31, readahead, INIT_FLAGS, 0, 0, MAX_WRITE, 1, 0, 0, *[0] * 8)

    def do_lookup(self, node, data):
        return self.entry(node, *names(data, 1))

    def do_forget(self, node, data):
        self.forget(node, *struct.unpack_from("<Q", data))
        return NO_ANSWER

    def do_batch_forget(self, _, data):
        for at in range(struct.unpack_from("<I", data)[0]):
            self.forget(*struct.unpack_from("<QQ", data, 8 + 16 * at))
        return NO_ANSWER

    def do_getattr(self, node, _):
        return bytes(16) + self.attributes(self.nodes[node])

    def do_setattr(self, node, data):
        valid, _, handle, size, _, atime, mtime, _, *rest = struct.unpack_from("<2I6Q8I", data)
        atime_part, mtime_part, _, mode, _, uid, gid, _ = rest
        path = self.path(node)
        if valid & SET_MODE:
            self.check("chmod")
            os.chmod(path, mode & 0o7777)
        if valid & SET_OWNER:
            self.check("chown")
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & SET_SIZE:
            self.check("truncate")
            os.truncate(self.handle(node, handle) if valid & HAS_HANDLE else path, size)
        if valid & SET_TIMES:
            self.check("utimens")
            times = []
            for is_set, is_now, seconds, part in (
                (valid & SET_ATIME, valid & ATIME_NOW, atime, atime_part),
                (valid & SET_MTIME, valid & MTIME_NOW, mtime, mtime_part),
            ):
                seconds -= (seconds >> 63) << 64
                times += [seconds, UTIME_OMIT if not is_set else UTIME_NOW if is_now else part]
            checked(LIBC.utimensat(-100, path.encode(), struct.pack("<4q", *times), 0))
        return self.do_getattr(node, data)

    def do_readlink(self, node, _):
        return os.readlink(b"", dir_fd=self.nodes[node])

    def do_symlink(self, node, data):
        name, target = names(data, 2)
        os.symlink(target, name, dir_fd=self.nodes[node])
        return self.entry(node, name)

    def do_mknod(self, node, data):
        mode, device = struct.unpack_from("<II", data)
        (name,) = names(data[16:], 1)
        os.mknod(name, mode, device, dir_fd=self.nodes[node])
        return self.entry(node, name)

    def do_mkdir(self, node, data):
        (name,) = names(data[8:], 1)
        os.mkdir(name, struct.unpack_from("<I", data)[0], dir_fd=self.nodes[node])
        return self.entry(node, name)

    def do_unlink(self, node, data):
        os.unlink(*names(data, 1), dir_fd=self.nodes[node])

    def do_rmdir(self, node, data):
        os.rmdir(*names(data, 1), dir_fd=self.nodes[node])

    def do_rename(self, node, data, start=8, flags=0):
        target = self.nodes[struct.unpack_from("<Q", data)[0]]
        old, new = names(data[start:], 2)
        checked(LIBC.renameat2(self.nodes[node], old, target, new, flags))

    def do_rename2(self, node, data):
        self.do_rename(node, data, 16, struct.unpack_from("<QI", data)[1])

    def do_link(self, node, data):
        (name,) = names(data[8:], 1)
        source = self.path(struct.unpack_from("<Q", data)[0])
        os.link(source, name, dst_dir_fd=self.nodes[node], follow_symlinks=True)
        return self.entry(node, name)

    def do_open(self, node, data):
        return self.opened(node, struct.unpack_from("<I", data)[0])

    def do_create(self, node, data):
        flags, mode = struct.unpack_from("<II", data)
        (name,) = names(data[16:], 1)
        flags = (flags | os.O_CREAT | os.O_NOFOLLOW) & ~os.O_APPEND
        descriptor = os.open(name, flags, mode, dir_fd=self.nodes[node])
        return self.entry(node, name) + struct.pack("<QII", self.keep(descriptor), 0, 0)

    def do_read(self, node, data):
        handle, offset, size = struct.unpack_from("<QQI", data)
        return os.pread(self.handle(node, handle), size, offset)

    def do_write(self, node, data):
        handle, offset, size = struct.unpack_from("<QQI", data)
        return struct.pack("<II", os.pwrite(self.handle(node, handle), data[40 : 40 + size], offset), 0)

    def do_flush(self, *_):
        pass

    def do_release(self, _, data):
        if handle := struct.unpack_from("<Q", data)[0]:
            os.close(self.open.pop(handle))

    def do_fsync(self, *_):
        pass  # The tests cut no power.

    def do_opendir(self, node, _):
        return self.opened(node, os.O_RDONLY | os.O_DIRECTORY)

    def do_readdir(self, node, data):
        handle, offset, size = struct.unpack_from("<QQI", data)
        directory, answer = self.handle(node, handle), b""
        entries = sorted(os.listdir(directory))
        for at, name in enumerate(entries[offset:], offset + 1):
            s, name = os.stat(name, dir_fd=directory, follow_symlinks=False), os.fsencode(name)
            entry = struct.pack("<QQII", s.st_ino, at, len(name), stat.S_IFMT(s.st_mode) >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer

    do_releasedir, do_fsyncdir = do_release, do_fsync

    def do_statfs(self, node, _):
        s = os.statvfs(self.path(node))
        figures = s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, s.f_bsize, s.f_namemax, s.f_frsize
        return struct.pack("<5Q10I", *figures, *[0] * 7)

    def do_setxattr(self, node, data):
        size, flags = struct.unpack_from("<II", data)
        name, _, value = data[8:].partition(b"\0")
        os.setxattr(self.path(node), name, value[:size], flags)

    def do_getxattr(self, node, data):
        return self.sized(data, os.getxattr(self.path(node), *names(data[8:], 1)))

    def do_listxattr(self, node, data):
        return self.sized(data, b"".join(os.fsencode(n) + b"\0" for n in os.listxattr(self.path(node))))

    def do_removexattr(self, node, data):
        os.removexattr(self.path(node), *names(data, 1))

    def sized(self, data, value):
        size = struct.unpack_from("<I", data)[0]
        if size and size < len(value):
            raise OSError(errno.ERANGE, "longer")
        return value if size else struct.pack("<II", len(value), 0)

    def do_lock(self, node, data):
        handle, *_, kind, _, flags = struct.unpack_from("<4Q3I", data)
        if not flags & LOCK_IS_FLOCK:
            raise OSError(errno.ENOSYS, "handled by the kernel")
        how = {fcntl.F_RDLCK: fcntl.LOCK_SH, fcntl.F_WRLCK: fcntl.LOCK_EX, fcntl.F_UNLCK: fcntl.LOCK_UN}[kind]
        fcntl.flock(self.handle(node, handle), how | fcntl.LOCK_NB)

    def do_access(self, node, data):
        if not os.access(self.path(node), struct.unpack_from("<I", data)[0]):
            raise OSError(errno.EACCES, "refused")

    def do_ioctl(self, *_):
        raise OSError(errno.ENOTTY, "none here")

    def do_fallocate(self, node, data):
        handle, offset, length, mode = struct.unpack_from("<QQQI", data)
        fallocate = LIBC.fallocate
        fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        checked(fallocate(self.handle(node, handle), mode, offset, length))

    def do_lseek(self, node, data):
        handle, offset, whence = struct.unpack_from("<QQI", data)
        return struct.pack("<Q", os.lseek(self.handle(node, handle), offset, whence))

    def do_copy_file_range(self, node, data):
        source, source_at, target_node, target, target_at, length, _ = struct.unpack_from("<7Q", data)
        source, target = self.handle(node, source), self.handle(target_node, target)
        copied = os.copy_file_range(source, target, length, source_at, target_at)
        return struct.pack("<II", copied, 0)

    def do_destroy(self, *_):
        pass


# Requests of one number that are refused apart from each other.
PARTS = {"chmod", "chown", "truncate", "utimens"}
OPERATIONS = {
    1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 8: "mknod", 9: "mkdir",
    10: "unlink", 11: "rmdir", 12: "rename", 13: "link", 14: "open", 15: "read", 16: "write", 17: "statfs",
    18: "release", 20: "fsync", 21: "setxattr", 22: "getxattr", 23: "listxattr", 24: "removexattr", 25: "flush",
    26: "init", 27: "opendir", 28: "readdir", 29: "releasedir", 30: "fsyncdir", 32: "lock", 33: "lock",
    34: "access", 35: "create", 38: "destroy", 39: "ioctl", 42: "batch_forget", 43: "fallocate", 45: "rename2",
    46: "lseek", 47: "copy_file_range",
}  # fmt: skip


def own_users():
    """Root of its own users may mount, and nothing else, where this user is not root."""
    uid, gid = os.geteuid(), os.getegid()
    checked(LIBC.unshare(CLONE_NEWUSER))
    for name, text in ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(device, directory):
    checked(LIBC.unshare(CLONE_NEWNS))
    checked(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    checked(LIBC.mount(b"faulty", os.fsencode(directory), b"fuse", 0, options.encode()))


def main():
    split = sys.argv.index("--")
    directory, *rules = sys.argv[1:split]
    try:
        if os.geteuid() != 0:
            own_users()
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        print(f"faulty.py: no such file systems here: {error}", file=sys.stderr)
        sys.exit(UNTRIED)
    file_system = FileSystem(directory, rules)
    is_mounted, has_mounted = os.pipe()
    # Outside the program's mounts: these end with it, and so does what is mounted in them.
    if os.fork() == 0:
        os.close(has_mounted)
        if os.read(is_mounted, 1):
            prepare_to_serve()
            file_system.serve(device)
        os._exit(0)
    try:
        mount(device, directory)
    except OSError as error:
        print(f"faulty.py: no such mounts here: {error}", file=sys.stderr)
        sys.exit(UNTRIED)
    os.write(has_mounted, b"1")
    # The path of the working directory leads through what is mounted now.
    os.chdir(os.getcwd())
    os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])


def prepare_to_serve():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.umask(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.chdir("/")


main()
