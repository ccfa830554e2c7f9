'use strict';
// The app that scenarios break: plain Node, no packages.
//
// Environment: PORT, BIND ("::", "::1", "127.0.0.1"; Node's default when empty), START_DELAY (ms
// before it listens), SIGTERM_HANDLER (1: ends tidily in a handler, which a blocked loop never runs),
// DATABASE (redis:, postgresql: or mysql: and a port: asked all the time) with WITHOUT_DATABASE
// ("exit": as apps do that cannot live without; "answer": its health is 500 meanwhile),
// LISTEN_ON (a file descriptor of a socket unit to listen on instead), LOG_REQUESTS (1: says when
// it is asked for its health).
// A fault is a line in the file `fault` of the working directory, taken up on SIGUSR2 and used up
// by it; the file `fault.sticky` is read at every start as well, and stays.
const fs = require('fs');
const http = require('http');
const net = require('net');

const port = Number(process.env.PORT || 3000);
const bind = process.env.BIND || undefined;
const delay = Number(process.env.START_DELAY || 0);
const good = { status: 'OK', services: { database: 'connected' } };

let answer = (response) => json(response, 200, good);
const hoard = [];
let mayListen = true;

function json(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

// One thing after the other, and connections are taken in between: what is behind with its work is
// late with everything.
const waiting = [];
function inTurn(job) {
  waiting.push(job);
  if (waiting.length === 1) setImmediate(turn);
}
function turn() {
  waiting[0]();
  waiting.shift();
  if (waiting.length) setImmediate(turn);
}

const server = http.createServer((request, response) => {
  if (request.url.startsWith('/api/health')) {
    if (process.env.LOG_REQUESTS === '1') console.log('asked');
    return inTurn(() => answer(response));
  }
  if (request.url === '/work') {
    return inTurn(() => {
      // An honest 20 ms of it.
      for (const until = performance.now() + 20; performance.now() < until;);
      response.end('done\n');
    });
  }
  if (request.url === '/moved') {
    response.writeHead(302, { location: '/api/health' });
    return response.end();
  }
  if (request.url === '/private') {
    if (fs.existsSync('public')) return response.end('welcome\n');
    return json(response, 401, { error: 'who are you?' });
  }
  if (request.url === '/') return response.end('hello\n');
  return json(response, 404, { error: 'not here' });
});

const faults = {
  crash: () => process.exit(1),
  // As fault.sticky: so many starts fail, the next one is sound.
  'crash-times': (times) => {
    let so_far = 0;
    try { so_far = Number(fs.readFileSync('fault.count', 'utf8')); } catch { /* the first one */ }
    if (so_far >= Number(times)) return;
    fs.writeFileSync('fault.count', String(so_far + 1));
    process.exit(1);
  },
  exit: (code) => process.exit(Number(code || 0)),
  throw: () => { throw new Error('fault asked for'); },
  block: () => { for (;;) { /* the event loop never turns again */ } },
  // The same behind the next answer: who asks meanwhile would still see its connection taken.
  'block-answered': () => server.once('request', (_, response) => response.on('finish', () => setImmediate(faults.block))),
  status: (code) => { answer = (response) => json(response, Number(code), { status: 'ERROR' }); },
  // Two bad answers, one good one, and so on.
  flap: () => {
    let asked = 0;
    answer = (response) => {
      asked += 1;
      if (asked % 3) json(response, 500, { status: 'ERROR' }); else json(response, 200, good);
    };
  },
  badjson: () => { answer = (response) => json(response, 200, { status: 'OK', services: { database: 'disconnected' } }); },
  garbage: () => { answer = (response) => { response.writeHead(200); response.end('<html>not json'); }; },
  flood: () => {
    answer = (response) => {
      response.writeHead(200);
      const block = Buffer.alloc(65536, 'x');
      const pour = () => { while (response.write(block)); };
      response.on('drain', pour);
      pour();
    };
  },
  drip: () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => response.write(' '), 1000);
      response.on('close', () => clearInterval(timer));
    };
  },
  // Awaits something that never comes: takes connections and requests, uses no CPU, answers nothing.
  await: () => { answer = () => {}; },
  slow: (ms) => { answer = (response) => setTimeout(() => json(response, 200, good), Number(ms)); },
  unlisten: () => { server.close(); server.closeAllConnections(); },
  listen: () => server.listen(port, bind),
  // As fault.sticky: an app that runs, but never listens.
  deaf: () => { mayListen = false; },
  // 4 MiB at a time.
  leak: (ms) => setInterval(() => hoard.push(Buffer.alloc(4 << 20, 1)), Number(ms || 100)),
  // At once, so that the kernel kills instead of reclaiming the program's pages for minutes.
  hoard: (megabytes) => { hoard.push(Buffer.alloc(Number(megabytes) << 20, 1)); },
  heal: () => { answer = (response) => json(response, 200, good); },
};

// Whether the database on that port of the loopback takes a session, in its own protocol.
const greetings = {
  'redis:': { say: Buffer.from('PING\r\n'), good: (data) => data[0] === 0x2b },
  // StartupMessage, protocol 3.0, user nobody: asked for a password is as good as let in.
  'postgresql:': {
    say: Buffer.from('\0\0\0\x15\0\x03\0\0user\0nobody\0\0', 'latin1'),
    good: (data) => data[0] === 0x52 || !/57P03/.test(data.toString('latin1')),
  },
  'mysql:': { say: Buffer.alloc(0), good: (data) => data[4] === 10 },
};

function accepts(database, done) {
  const [protocol, at] = database.split(/(?<=:)/);
  const { say, good } = greetings[protocol];
  let answered = false;
  const socket = net.connect({ host: '127.0.0.1', port: Number(at), timeout: 1000 });
  const end = (well) => {
    if (!answered) done(well);
    answered = true;
    socket.destroy();
  };
  socket.on('connect', () => socket.write(say));
  socket.on('data', (data) => end(good(data)));
  socket.on('timeout', () => end(false));
  socket.on('error', () => end(false));
  socket.on('close', () => end(false));
}

function lean(database, without) {
  accepts(database, (well) => {
    if (!well && without === 'exit') {
      console.error('the database is gone');
      process.exit(1);
    }
    if (without === 'answer') {
      answer = (response) => (well ? json(response, 200, good) : json(response, 500, { status: 'no database' }));
    }
    setTimeout(() => lean(database, without), 300);
  });
}

function take(file) {
  let text;
  try {
    text = fs.readFileSync(file, 'utf8').trim();
  } catch {
    return;
  }
  const [name, argument] = text.split(' ');
  if (!(name in faults)) return console.error(`no such fault: ${text}`);
  console.log(`fault: ${text}`);
  // Not ours to remove when the app runs as a user of its own; it is read on a signal only.
  if (file === 'fault') try { fs.unlinkSync(file); } catch { /* see above */ }
  faults[name](argument);
}

process.on('SIGUSR2', () => take('fault'));
if (process.env.SIGTERM_HANDLER === '1') {
  process.on('SIGTERM', () => {
    console.log('closing');
    server.close(() => process.exit(0));
    server.closeAllConnections();
  });
}

// Without a listener it would end by itself.
setInterval(() => {}, 60000);
console.log(`starting, pid ${process.pid}`);
// Sticky faults that end the process do so before it listens, as a broken build would.
take('fault.sticky');
if (process.env.DATABASE) lean(process.env.DATABASE, process.env.WITHOUT_DATABASE);
setTimeout(() => {
  const where = process.env.LISTEN_ON ? [{ fd: Number(process.env.LISTEN_ON) }] : [port, bind];
  if (mayListen) server.listen(...where, () => console.log(`listening on ${port}`));
}, delay);
server.on('error', (error) => { console.error(error.message); process.exit(1); });
