'use strict';
// The app of the benchmark: plain Node on many ports, which writes down when it is asked, and by whom.
//
// Port 6379 answers a Redis ping.
// Environment: FIRST and LAST port. Every path answers a health check with 200 and JSON. On port 9000:
// /reset forgets what was written down, /hang?n takes connections and requests on the first n ports
// and answers none of them (0: all answer again), /report gives { port: { who: [ms…] } }.
const http = require('http');
const net = require('net');

const first = Number(process.env.FIRST);
const last = Number(process.env.LAST);
const good = JSON.stringify({ status: 'OK', services: { database: 'connected' } });

let asked = {};
let hanging = 0;

function health(port, request, response) {
  const who = (request.headers['user-agent'] || 'nobody').split('/')[0].toLowerCase();
  const byPort = (asked[port] ??= {});
  (byPort[who] ??= []).push(performance.now());
  if (port < first + hanging) return;
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(good);
}

for (let port = first; port <= last; port++) {
  http.createServer((request, response) => health(port, request, response)).listen(port);
}

// What a Redis server says to a ping.
net.createServer((socket) => {
  socket.on('data', () => socket.write('+PONG\r\n'));
  socket.on('error', () => {});
}).listen(6379, '127.0.0.1');

http.createServer((request, response) => {
  const [path, argument] = request.url.split('?');
  if (path === '/reset') asked = {};
  if (path === '/hang') hanging = Number(argument);
  response.end(path === '/report' ? JSON.stringify(asked) : 'done\n');
}).listen(9000, '127.0.0.1');
