//! A terminal of the test's own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program at a terminal.
pub(crate) struct AtTerminal {
    child: Child,
    keyboard: File,
    screen: JoinHandle<String>,
}

/// Starts a program at a terminal so many columns wide.
pub(crate) fn start(command: &mut Command, columns: u16) -> AtTerminal {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let open = || {
        let terminal = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
        Stdio::from(terminal.unwrap())
    };
    command.stdin(open()).stdout(open()).stderr(open()).env("TERM", "xterm");
    let child = command.spawn().unwrap();
    // The test's own ends of the terminal are in the command; it would never end with them open.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut master = File::from(master);
    let keyboard = master.try_clone().unwrap();
    let screen = thread::spawn(move || {
        let (mut screen, mut buffer) = (Vec::new(), [0; 4096]);
        // A terminal that nobody has open any longer reads as an error.
        while let Ok(read @ 1..) = master.read(&mut buffer) {
            screen.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&screen).into_owned()
    });
    AtTerminal { child, keyboard, screen }
}

impl AtTerminal {
    /// Types a line, waits for the end, and gives status and everything that was on the screen.
    pub(crate) fn answer(mut self, line: &str) -> (i32, String) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.end()
    }

    /// Waits for the end, and gives status and everything that was on the screen.
    pub(crate) fn end(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        drop(self.keyboard);
        (status.code().unwrap(), self.screen.join().unwrap())
    }
}
