//! Which system calls the daemon makes, and why. Whatever is not here does not exist for it.
//!
//! A call that is not here returns ENOSYS, as on a kernel that does not have it, and the daemon goes on. To kill it instead
//! would turn a C library's update, which tries a new call first, into a node without DNS; and EPERM would, too, since
//! a library takes ENOSYS alone as a reason to try the older call (glibc: `clone3`, then `clone`). Who attacks gains nothing by
//! the difference. Calls that are always allowed cost next to nothing since Linux 5.11, which keeps a bitmap of them.
//!
//! Arguments are looked at where a call has another use that is not ours: `clone` makes threads and no processes, `socket`
//! has five families, `prctl` names threads and memory.

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, apply_filter_all_threads,
};

/// Calls with one reason.
#[derive(Debug)]
pub struct Group {
    /// What they are about.
    pub about: &'static str,
    /// Why the daemon makes them.
    pub why: &'static str,
    /// They.
    pub calls: &'static [c_long],
}

/// All that are made whatever their arguments are.
pub const ALLOWED: &[Group] = &[
    Group {
        about: "memory",
        why: "the allocator, stacks of threads, and the maps of the programs, which are written through memory",
        calls: &[
            libc::SYS_brk,
            libc::SYS_madvise,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_munmap,
        ],
    },
    Group {
        about: "threads",
        why: "the runtime's, and those that wait for each other; `clone` below makes them",
        calls: &[
            libc::SYS_exit,
            libc::SYS_exit_group,
            libc::SYS_futex,
            libc::SYS_getpid,
            libc::SYS_gettid,
            libc::SYS_membarrier,
            libc::SYS_rseq,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_yield,
            libc::SYS_set_robust_list,
            libc::SYS_set_tid_address,
        ],
    },
    Group {
        about: "time and chance",
        why: "leases, TTLs and deadlines; query IDs and keys",
        calls: &[
            libc::SYS_clock_getres,
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_getrandom,
            libc::SYS_gettimeofday,
            libc::SYS_nanosleep,
        ],
    },
    Group {
        about: "files",
        why: "Corefile, zones, keys, tokens and manifests, read again when they change; logs; pins; the control socket",
        calls: &[
            libc::SYS_close,
            libc::SYS_dup,
            libc::SYS_dup3,
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_fcntl,
            libc::SYS_fdatasync,
            libc::SYS_flock,
            libc::SYS_fstat,
            libc::SYS_fstatfs,
            libc::SYS_fsync,
            libc::SYS_ftruncate,
            libc::SYS_getcwd,
            libc::SYS_getdents64,
            libc::SYS_inotify_add_watch,
            libc::SYS_inotify_init1,
            libc::SYS_inotify_rm_watch,
            libc::SYS_lseek,
            libc::SYS_mkdirat,
            libc::SYS_newfstatat,
            libc::SYS_openat,
            libc::SYS_pread64,
            libc::SYS_pwrite64,
            libc::SYS_read,
            libc::SYS_readlinkat,
            libc::SYS_readv,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_statfs,
            libc::SYS_statx,
            libc::SYS_symlinkat,
            libc::SYS_unlinkat,
            libc::SYS_write,
            libc::SYS_writev,
        ],
    },
    Group {
        about: "waiting",
        why: "the runtime's loop",
        calls: &[
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            libc::SYS_eventfd2,
            libc::SYS_pipe2,
            libc::SYS_ppoll,
        ],
    },
    Group {
        about: "sockets",
        why: "clients, upstreams, the API server, the control socket, and netlink; `socket` below makes them",
        calls: &[
            libc::SYS_accept4,
            libc::SYS_bind,
            libc::SYS_connect,
            libc::SYS_getpeername,
            libc::SYS_getsockname,
            libc::SYS_getsockopt,
            libc::SYS_listen,
            libc::SYS_recvfrom,
            libc::SYS_recvmmsg,
            libc::SYS_recvmsg,
            libc::SYS_sendmmsg,
            libc::SYS_sendmsg,
            libc::SYS_sendto,
            libc::SYS_setsockopt,
            libc::SYS_shutdown,
        ],
    },
    Group {
        about: "bpf",
        why: "programs, maps, links and pins; each call is still subject to the capabilities",
        calls: &[libc::SYS_bpf],
    },
    Group {
        about: "signals",
        why: "SIGTERM and the like; a panic's abort",
        calls: &[
            libc::SYS_restart_syscall,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_sigaltstack,
            libc::SYS_tgkill,
            libc::SYS_tkill,
        ],
    },
    Group {
        about: "itself",
        why: "limits, memory and time of the process for its metrics; which capabilities it has; the kernel's release",
        calls: &[
            libc::SYS_capget,
            libc::SYS_getegid,
            libc::SYS_geteuid,
            libc::SYS_getgid,
            libc::SYS_getrusage,
            libc::SYS_getuid,
            libc::SYS_prlimit64,
            libc::SYS_sysinfo,
            libc::SYS_uname,
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        about: "older names",
        why: "what a C library calls on x86-64, where these are there beside the ones above",
        calls: &[
            libc::SYS_access,
            libc::SYS_arch_prctl,
            libc::SYS_chmod,
            libc::SYS_dup2,
            libc::SYS_epoll_wait,
            libc::SYS_getrlimit,
            libc::SYS_lstat,
            libc::SYS_mkdir,
            libc::SYS_open,
            libc::SYS_poll,
            libc::SYS_readlink,
            libc::SYS_rename,
            libc::SYS_rmdir,
            libc::SYS_setrlimit,
            libc::SYS_stat,
            libc::SYS_symlink,
            libc::SYS_time,
            libc::SYS_unlink,
        ],
    },
];

/// A call, which of its arguments is looked at, and the values that it may have.
type Valued = (c_long, u8, &'static [i32]);

/// Calls that are made with these values only.
const VALUED: &[Valued] = &[
    // Clients and upstreams; control socket and log; devices, routes and filters.
    (
        libc::SYS_socket,
        0,
        &[
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_UNIX,
            libc::AF_NETLINK,
        ],
    ),
    // How the runtime hears of signals.
    (libc::SYS_socketpair, 0, &[libc::AF_UNIX]),
    // Names of threads, and (glibc 2.39) of memory.
    (
        libc::SYS_prctl,
        0,
        &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA],
    ),
];

/// Requests of `ioctl`, as all of our architectures number them (asm-generic/ioctls.h, linux/sockios.h). Their type is
/// another one in each C library.
const REQUESTS: &[u64] = &[
    0x5421, // FIONBIO: do not wait
    0x5451, // FIOCLEX: close on exec
    0x541b, // FIONREAD: how much waits to be read
    0x5401, // TCGETS: whether the log is a terminal
    0x8933, // SIOCGIFINDEX: a device's number
    0x8910, // SIOCGIFNAME: its name
];

/// Restricts all threads of this process to these calls, and sets `no_new_privs`.
///
/// # Errors
/// The kernel has no seccomp, or this is another architecture than x86-64 and `AArch64`.
pub fn forbid_others() -> Result<(), Error> {
    apply_filter_all_threads(&filter()?)
}

fn filter() -> Result<BpfProgram, Error> {
    let is = |argument, value| Condition::new(argument, Length::Dword, Compare::Eq, value);
    let mut rules: std::collections::BTreeMap<c_long, Vec<Rule>> = (ALLOWED.iter())
        .flat_map(|group| group.calls.iter().map(|call| (*call, Vec::new())))
        .collect();
    for (call, argument, values) in VALUED {
        let values = values.iter().map(|value| value.cast_unsigned());
        let values = values.map(|value| Rule::new(vec![is(*argument, u64::from(value))?]));
        rules.insert(*call, values.collect::<Result<_, _>>()?);
    }
    let requests = (REQUESTS.iter()).map(|request| Rule::new(vec![is(1, *request)?]));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    // A thread shares the process; a process does not, and namespaces are for processes.
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let thread = Condition::new(0, Length::Qword, Compare::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![Rule::new(vec![thread])?]);
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let filter = SeccompFilter::new(
        rules,
        no_such_call,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}
