"""Names that Windows lacks are not used without a guard.

The lists are those of typeshed for Python 3.10 to 3.13: the names of its stubs under
``sys.platform != "win32"``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import unblur

PACKAGE = Path(unblur.__file__).parent
LACKING = {
    "os": """
        chflags chown chroot confstr confstr_names copy_file_range ctermid environb eventfd
        eventfd_read eventfd_write fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs
        fwalk get_blocking getegid getenvb geteuid getgid getgrouplist getgroups getloadavg getpgid
        getpgrp getpriority getrandom getresgid getresuid getsid getuid getxattr grantpt initgroups
        killpg lchflags lchmod lchown listxattr lockf login_tty major makedev memfd_create minor
        mkfifo mknod nice openpty pathconf pathconf_names pidfd_open pipe2 plock posix_fadvise
        posix_fallocate posix_openpt posix_spawn posix_spawnp pread preadv ptsname pwrite pwritev
        readv register_at_fork removexattr sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getparam sched_getscheduler sched_param sched_rr_get_interval
        sched_setaffinity sched_setparam sched_setscheduler sched_yield sendfile set_blocking
        setegid seteuid setgid setgroups setns setpgid setpgrp setpriority setregid setresgid
        setresuid setreuid setsid setuid setxattr spawnlp spawnlpe spawnvp spawnvpe splice statvfs
        statx statx_result struct_rusage sync sysconf sysconf_names tcgetpgrp tcsetpgrp
        timerfd_create timerfd_gettime timerfd_gettime_ns timerfd_settime timerfd_settime_ns
        ttyname uname unlockpt unshare wait wait3 wait4 waitid waitid_result writev
        (AT|CLD|CLONE|EFD|EX|F|GRND|MFD|PIDFD|POSIX|PRIO|P|RTLD|RWF|SCHED|SF|SPLICE|STATX|ST|TFD|XATTR)_[A-Z0-9_]+
        O_(ACCMODE|ASYNC|CLOEXEC|DIRECT|DIRECTORY|DSYNC|EVTONLY|EXEC|EXLOCK|FSYNC|LARGEFILE|NDELAY)
        O_(NOATIME|NOCTTY|NOFOLLOW|NOFOLLOW_ANY|NONBLOCK|PATH|RSYNC|SEARCH|SHLOCK|SYMLINK|SYNC)
        O_TMPFILE NGROUPS_MAX NODEV SEEK_DATA SEEK_HOLE
        W(CONTINUED|COREDUMP|EXITED|EXITSTATUS|IFCONTINUED|IFEXITED|IFSIGNALED|IFSTOPPED|NOHANG)
        W(NOWAIT|STOPPED|STOPSIG|TERMSIG|UNTRACED)
    """,
    "signal": """
        ITIMER_[A-Z]+ ItimerError SIG_(BLOCK|SETMASK|UNBLOCK) Sigmasks alarm getitimer pause
        pidfd_send_signal pthread_kill pthread_sigmask setitimer siginterrupt sigpending
        sigtimedwait sigwait sigwaitinfo struct_siginfo
        SIG(ALRM|BUS|CHLD|CLD|CONT|EMT|HUP|INFO|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|RTMAX|RTMIN)
        SIG(STKFLT|STOP|SYS|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ)
    """,
    "time": "CLOCK_[A-Z_]+ clock_[a-z_]+ pthread_getcpuclockid tzset",
    "select": "EPOLL[A-Z_]* KQ_[A-Z0-9_]+ POLL[A-Z]+ PIPE_BUF devpoll epoll kevent kqueue poll",
}
"""Regular expressions of names, by module."""
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def is_lacking(module, name):
    return any(re.fullmatch(pattern, name) for pattern in LACKING.get(module, "").split())


def unguarded(node, is_guarded=False):
    """Yield the names in a syntax tree that Windows lacks, except behind a guard.

    Guards are a check of ``sys.platform``, a caught ``AttributeError``, and an earlier import of
    a module of POSIX in the same block. ``getattr`` needs none.
    """
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not is_guarded:
        if is_lacking(node.value.id, node.attr):
            yield f"{node.value.id}.{node.attr}"
    elif isinstance(node, ast.ImportFrom) and not is_guarded:
        yield from (a.name for a in node.names if is_lacking(node.module, a.name))
    for field, value in ast.iter_fields(node):
        inside = is_guarded or (field == "body" and keeps_windows_out(node))
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from unguarded(child, inside)
                inside = inside or ends_on_windows(child)


def keeps_windows_out(node):
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("sys.platform != 'win32'", "sys.platform == 'linux'")
    if isinstance(node, ast.With):
        return any("AttributeError" in ast.unparse(item) for item in node.items)
    handlers = node.handlers if isinstance(node, ast.Try) else []
    return any(one.type and "AttributeError" in ast.unparse(one.type) for one in handlers)


def ends_on_windows(statement):
    """Return whether Windows never gets past a statement."""
    if isinstance(statement, ast.If):
        leaves = isinstance(statement.body[-1], ast.Return | ast.Raise)
        return leaves and ast.unparse(statement.test) == "sys.platform == 'win32'"
    return bool(POSIX_MODULES & imported(statement))


def imported(statement):
    if isinstance(statement, ast.Import):
        return {alias.name for alias in statement.names}
    return {statement.module} if isinstance(statement, ast.ImportFrom) else set()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_what_windows_lacks_is_used_only_behind_a_guard(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert list(unguarded(tree)) == []
    for node in tree.body:
        assert not POSIX_MODULES & imported(node), "import it in a function"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("os.ttyname(2)", ["os.ttyname"]),
        ("signal.signal(signal.SIGHUP, stop)", ["signal.SIGHUP"]),
        ("os.open(path, os.O_RDONLY | os.O_NOCTTY)", ["os.O_NOCTTY"]),
        ("from os import path, fork", ["fork"]),
        ("def ask():\n os.ttyname(2)\n import termios", ["os.ttyname"]),
        ("if sys.platform == 'win32':\n os.fork()\nelse:\n pass", ["os.fork"]),
        ("try:\n pass\nexcept AttributeError:\n os.getuid()", ["os.getuid"]),
        ("def ask():\n import termios\n os.ttyname(2)", []),
        ("if sys.platform != 'win32':\n os.fork()", []),
        ("def ask():\n if sys.platform == 'win32':\n  return\n os.fork()", []),
        ("with suppress(AttributeError):\n os.fork()", []),
        ("getattr(os, 'chown', None)\nos.open(p, os.O_RDONLY)\nsignal.SIGINT", []),
    ],
)
def test_a_use_without_a_guard_is_found(code, found):
    assert list(unguarded(ast.parse(code))) == found
