//! What any user of the host may send over the bus: signals that are not systemd's, and more than anybody
//! has room for.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, as_nobody, assert_none, let_pass, recovered_from, view, watch};

/// The monitor's connections to the bus.
fn connections(m: &Machine) -> Vec<String> {
    let pid = m.main_pid(UNIT).to_string();
    let names = m.must("busctl list --no-legend --no-pager");
    let mine = names.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|name| name.starts_with(':'))?;
        (words.next()? == pid).then(|| name.to_owned())
    });
    mine.collect()
}

#[test]
fn strangers_are_not_taken_for_systemd() {
    scenario("strangers-signals", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        for to in connections(m) {
            let send = |what: &str| {
                let line = format!("dbus-send --system --type=signal --dest={to} {what}");
                let said = as_nobody(m, &line);
                assert!(said.ok(), "{line}: {}", said.stderr);
            };
            send("/org/freedesktop/login1 org.freedesktop.login1.Manager.PrepareForShutdown boolean:true");
            send(
                "/org/freedesktop/systemd1 org.freedesktop.systemd1.Manager.JobNew uint32:999999 \
                 objpath:/org/freedesktop/systemd1/job/999999 string:poweroff.target",
            );
            send(
                "/org/freedesktop/systemd1 org.freedesktop.systemd1.Manager.JobNew uint32:999998 \
                 objpath:/org/freedesktop/systemd1/job/999998 string:web.service",
            );
        }
        let_pass(Duration::from_secs(2));
        assert_eq!(view(m, "web")["verdict"], "healthy", "whoever it was, systemd it was not");
        assert_none(m, &["verdict-changed"], at);
        let at = m.fault("web", "crash");
        recovered_from(m, "crashed", at);
    });
}

/// Sends calls with bodies of that size over so many connections, as fast as the bus takes them, for ten
/// seconds.
const FLOOD: &str = r#"
const net = require('net');
const [size, connections] = process.argv.slice(2).map(Number);
const string = (text) => { const bytes = Buffer.from(text + '\0'); const head = Buffer.alloc(4); head.writeUInt32LE(bytes.length - 1); return Buffer.concat([head, bytes]); };
const padded = (buffer) => Buffer.concat([buffer, Buffer.alloc((8 - buffer.length % 8) % 8)]);
let serial = 0;
function call(destination, path, member, iface, text) {
  const fields = [[1, 'o', path], [2, 's', iface], [3, 's', member], [6, 's', destination]].map(([code, type, value]) =>
    padded(Buffer.concat([Buffer.from([code, 1, type.charCodeAt(0), 0]), string(value)])));
  const body = text === null ? Buffer.alloc(0) : string(text);
  if (text !== null) fields.push(padded(Buffer.from([8, 1, 'g'.charCodeAt(0), 0, 1, 's'.charCodeAt(0), 0])));
  // The last field is not padded within the length of the array; the header is, behind it.
  let array = Buffer.concat(fields);
  const head = Buffer.alloc(16);
  head.write('l', 0); head[1] = 1; head[2] = 0; head[3] = 1;
  head.writeUInt32LE(body.length, 4); head.writeUInt32LE(++serial, 8);
  const last = fields[fields.length - 1];
  const real = text === null ? array.length - (last.length - (8 + Buffer.byteLength(destination) + 1)) : array.length - 1;
  head.writeUInt32LE(real, 12);
  return Buffer.concat([padded(Buffer.concat([head, array.subarray(0, real)])), body]);
}
let answers = 0;
for (let i = 0; i < connections; i++) {
  const socket = net.connect('/run/dbus/system_bus_socket');
  socket.on('error', (e) => console.log('error ' + e.message));
  socket.on('close', () => console.log('closed'));
  socket.write('\0AUTH EXTERNAL ' + Buffer.from(String(process.getuid())).toString('hex') + '\r\n');
  socket.once('data', () => {
    socket.write('BEGIN\r\n');
    socket.write(call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'Hello', 'org.freedesktop.DBus', null));
    socket.on('data', () => answers++);
    const big = 'x'.repeat(size);
    const more = () => { while (socket.write(call('org.appmonitor1', '/org/appmonitor1', 'Report', 'org.appmonitor1.Manager', size ? big : null))) {} };
    socket.on('drain', more);
    setTimeout(more, 200);
  });
}
setTimeout(() => { console.log('answers ' + answers); process.exit(0); }, 10000);
"#;

#[test]
fn strangers_who_send_without_end_take_nothing_from_the_monitor() {
    scenario("strangers-flood", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.write("/usr/local/lib/flood.js", FLOOD);
        let pid = m.main_pid(UNIT);
        for (size, connections) in [(0, 8), (30_000_000, 16)] {
            let at = now();
            m.must(&format!(
                "systemd-run --quiet --unit=flood-{size} --property=User=nobody \
                 node /usr/local/lib/flood.js {size} {connections}"
            ));
            let_pass(Duration::from_secs(3));
            m.fault("web", "crash");
            m.wait_event(SOON, "web", "recovery-verified", at);
            let flood = format!("flood-{size}.service");
            m.wait_property(SOON, &flood, "ActiveState", "inactive");
            let said = m.must(&format!("journalctl -b -o cat -u {flood}"));
            let answers = said.lines().find_map(|line| line.strip_prefix("answers ")?.parse().ok());
            assert!(answers.is_some_and(|answers: u32| answers > 10), "nobody was flooded: {said}");
            assert_eq!(m.main_pid(UNIT), pid, "it is the same process still");
        }
        // Of the 256 MB that it may have: sixteen messages as large as the bus takes them.
        let most = m.must(&format!("sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status"));
        assert!(most.trim().parse::<u32>().is_ok_and(|most| most < 160_000), "{most} kB");
    });
}
