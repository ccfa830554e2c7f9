'use strict';
// The resolver of the world outside: answers for the names in the file `zone` beside it, a name and
// its IPv4 address a line, anew at each question; every other name does not exist.
const dgram = require('dgram');
const fs = require('fs');
const path = require('path');

const zone = path.join(__dirname, 'zone');
const socket = dgram.createSocket('udp4');

socket.on('message', (query, from) => {
  const labels = [];
  let at = 12;
  while (at < query.length && query[at] !== 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
    at += 1 + query[at];
  }
  const question = query.subarray(12, at + 5);
  const lines = fs.readFileSync(zone, 'utf8').split('\n').map((line) => line.split(' '));
  const found = lines.find(([name, address]) => address && name === labels.join('.').toLowerCase());
  // Type A; of the others there is nothing, which is not the same as no such name.
  const answers = found && query.readUInt16BE(at + 1) === 1 ? 1 : 0;
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2);
  head.writeUInt16BE(found ? 0x8180 : 0x8183, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(answers, 6);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...(found ? found[1] : '0.0.0.0').split('.').map(Number)]);
  socket.send(Buffer.concat(answers ? [head, question, record] : [head, question]), from.port, from.address);
});
socket.bind(53, '192.0.2.1');
