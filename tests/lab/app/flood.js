// Calls org.appmonitor1 more often than anybody should, over sockets of its own:
//   flood.js read CLIENTS CALLS    each client makes so many calls, fetches every answer, and says how many
//   flood.js deaf CLIENTS SECONDS  calls without ever fetching an answer
//   flood.js mute CLIENTS SECONDS  calls that want no answer
'use strict';
const net = require('net');
const [, , mode, clients, amount] = process.argv;

// A method call without arguments, as the D-Bus specification has it.
function call(serial, destination, path, iface, member, flags) {
  const parts = [];
  let length = 0;
  const put = (buffer) => { parts.push(buffer); length += buffer.length; };
  const align = (to) => { while (length % to) put(Buffer.from([0])); };
  const text = (value) => {
    const bytes = Buffer.from(value);
    const size = Buffer.alloc(4);
    size.writeUInt32LE(bytes.length);
    align(4);
    put(size);
    put(bytes);
    put(Buffer.from([0]));
  };
  for (const [code, type, value] of [[1, 'o', path], [2, 's', iface], [3, 's', member], [6, 's', destination]]) {
    align(8);
    put(Buffer.from([code, 1, type.charCodeAt(0), 0]));
    text(value);
  }
  const fields = length;
  align(8);
  const head = Buffer.alloc(16);
  head.write('l');
  head.writeUInt8(1, 1);
  head.writeUInt8(flags, 2);
  head.writeUInt8(1, 3);
  head.writeUInt32LE(0, 4);
  head.writeUInt32LE(serial, 8);
  head.writeUInt32LE(fields, 12);
  return Buffer.concat([head, ...parts]);
}

const report = (serial, flags) =>
  call(serial, 'org.appmonitor1', '/org/appmonitor1', 'org.appmonitor1.Manager', 'Report', flags);

function connect(begin) {
  const socket = net.connect('/run/dbus/system_bus_socket');
  socket.once('data', () => {
    socket.write('BEGIN\r\n');
    socket.write(call(1, 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello', 0));
    begin(socket);
  });
  socket.on('error', (error) => { console.log(`over: ${error.code}`); });
  const uid = Buffer.from(String(process.getuid())).toString('hex');
  socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
}

// Whole messages in what came, by their lengths.
function messages(socket, take) {
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 16) {
      const whole = 16 + Math.ceil(rest.readUInt32LE(12) / 8) * 8 + rest.readUInt32LE(4);
      if (rest.length < whole) break;
      take(rest[1]);
      rest = rest.subarray(whole);
    }
  });
}

function reads(socket) {
  let sent = 0;
  let answers = 0;
  let refused = 0;
  const send = () => { sent += 1; socket.write(report(sent + 1, 0)); };
  messages(socket, (type) => {
    // Signals, and the answer to Hello, which comes first.
    if (type !== 2 && type !== 3) return;
    if (sent === 0) {
      for (let i = 0; i < 50 && sent < amount; i += 1) send();
      return;
    }
    answers += type === 2;
    refused += type === 3;
    if (sent < amount) send();
    else if (answers + refused === sent) {
      console.log(`${answers} answers, ${refused} refused`);
      socket.end();
    }
  });
}

function floods(socket, flags) {
  socket.pause();
  let serial = 1;
  const send = () => {
    for (let i = 0; i < 500; i += 1) {
      serial += 1;
      if (!socket.write(report(serial, flags))) {
        socket.once('drain', send);
        return;
      }
    }
    setImmediate(send);
  };
  send();
  setTimeout(() => { console.log(`${serial} calls`); process.exit(0); }, amount * 1000);
}

for (let client = 0; client < clients; client += 1) {
  connect((socket) => (mode === 'read' ? reads(socket) : floods(socket, mode === 'mute' ? 1 : 0)));
}
