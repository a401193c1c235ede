//! What the cache has is answered without memory from the heap, from the datagram of the query to that of the answer.
//! One process alone, since all of its threads are counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hopzero::{
    corefile::Corefile,
    plugin::Environment,
    server::{Servers, Serving},
    socket::{Server, ServerConfig, Service, SocketCounters},
};
use libtest_mimic::{Arguments, Trial};
use tokio_util::sync::CancellationToken;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: all is the system's allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: it came from `System`, see above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COREFILE: &str = ".:53 {\n prometheus\n errors\n loadbalance\n cache\n whoami\n}\n";
const HITS: u64 = 1000;

fn main() {
    // Not on a thread of its own: the harness has nothing to do meanwhile.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trial = Trial::test("a hit takes none", || {
        let taken = hits();
        match taken {
            0 => Ok(()),
            taken => Err(format!("{HITS} hits: {taken} allocations").into()),
        }
    });
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

/// Asks the same again and again, and says how often memory was taken meanwhile.
fn hits() -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let environment = Environment::default();
    let corefile = Corefile::parse(Path::new("Corefile"), COREFILE.to_owned(), &|_| None);
    let servers = Servers::build(&corefile.unwrap(), 53, &environment).unwrap();
    // As in the daemon.
    let service: Arc<dyn Service> =
        Arc::new(Serving::new(Arc::clone(servers.iter().next().unwrap().1)));
    let (counters, stop) = (
        Arc::new(SocketCounters::default()),
        CancellationToken::new(),
    );
    let (address, serving) = runtime.block_on(async {
        let config = ServerConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            ..ServerConfig::default()
        };
        let server = Server::bind(config).unwrap();
        let address = server.addresses()[0];
        let serving = tokio::spawn(server.run(service, Arc::clone(&counters), stop.clone()));
        (address, serving)
    });
    let socket = client(address);
    // The first makes the entry, the next take the memory that is kept; the runtime's, too.
    for _ in 0..HITS {
        ask(&socket);
    }
    let before = ALLOCATIONS.load(Relaxed);
    for _ in 0..HITS {
        ask(&socket);
    }
    let taken = ALLOCATIONS.load(Relaxed) - before;
    stop.cancel();
    runtime.block_on(serving).unwrap();
    assert_eq!(counters.snapshot().answers["NOERROR"], 2 * HITS);
    taken
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    let patience = Duration::from_secs(4);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

fn ask(socket: &UdpSocket) {
    // www.example.org A, with EDNS.
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\
        \x03wWw\x07example\x03org\0\0\x01\0\x01\
        \0\0\x29\x04\xd0\0\0\0\0\0\0";
    let mut answer = [0; 512];
    socket.send(query).unwrap();
    let length = socket.recv(&mut answer).unwrap();
    // QR, RCODE 0, two additional records and OPT.
    assert_eq!(answer[..2], query[..2]);
    assert_eq!((answer[2] & 0x80, answer[3] & 15, answer[11]), (0x80, 0, 3));
    assert!(length > query.len());
}
