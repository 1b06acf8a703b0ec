//! A mirror on the loopback address, with faults.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection ends before the announced length.
    Truncated,
    /// Less is announced than was signed.
    Short,
    /// One byte is another.
    Changed,
    /// 404.
    Missing,
    /// 503, and right from then on.
    Once,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    faults: HashMap<String, Fault>,
    asked: Vec<String>,
    stopped: bool,
}

/// A served set of files.
pub(super) struct Served {
    state: Arc<Mutex<State>>,
    pub(super) url: String,
}

impl Served {
    pub(super) fn new(files: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().expect("state").stopped {
                    break;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { break };
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { state, url }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.state.lock().expect("state").asked.clone()
    }

    pub(super) fn spoil(&self, path: &str, fault: Fault) {
        // By-hash copies are spoiled with the file they are of.
        let mut state = self.state.lock().expect("state");
        let bytes = state.files.get(path).cloned().expect(path);
        let same: Vec<String> =
            state.files.iter().filter(|(_, other)| **other == bytes).map(|(path, _)| path.clone()).collect();
        state.faults.extend(same.into_iter().map(|path| (path, fault)));
    }

    pub(super) fn mend(&self) {
        self.state.lock().expect("state").faults.clear();
    }

    /// Refuses everything from now on.
    pub(super) fn stop(&mut self) {
        self.state.lock().expect("state").stopped = true;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.stopped = true;
        }
        // Wakes the accepting thread, which then ends.
        let _woken = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let mut request = String::new();
    while reader.read_line(&mut request).is_ok_and(|count| count > 2) {}
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (status, announced, body) = {
        let mut state = state.lock().expect("state");
        if state.stopped {
            return;
        }
        state.asked.push(path.clone());
        let fault = state.faults.get(&path).copied();
        if fault == Some(Fault::Once) {
            state.faults.remove(&path);
        }
        answer(state.files.get(&path), fault)
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n");
    // The client may have gone; that is its affair.
    let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

fn answer(file: Option<&Vec<u8>>, fault: Option<Fault>) -> (&'static str, usize, Vec<u8>) {
    let Some(bytes) = file.filter(|_| fault != Some(Fault::Missing)) else {
        return ("404 Not Found", 0, Vec::new());
    };
    let mut body = bytes.clone();
    match fault {
        Some(Fault::Truncated) => body.truncate(bytes.len() / 2),
        Some(Fault::Short) => {
            body.truncate(bytes.len() / 2);
            return ("200 OK", body.len(), body);
        }
        Some(Fault::Changed) => body[bytes.len() / 2] ^= 1,
        Some(Fault::Once) => return ("503 Service Unavailable", 0, Vec::new()),
        Some(Fault::Missing) | None => {}
    }
    ("200 OK", bytes.len(), body)
}
