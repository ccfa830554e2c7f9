'use strict';
// Somebody who is told over HTTP, and not always in the mood: the file `mode` beside it says how it
// answers, anew at each request. What it was told lies in `log`, a line of JSON each. Where a certificate
// lies beside it (`site.pem`, `site.key`), it speaks TLS.
const fs = require('fs');
const http = require('http');
const https = require('https');
const path = require('path');

const log = path.join(__dirname, 'log');
const mode = () => {
  try {
    return fs.readFileSync(path.join(__dirname, 'mode'), 'utf8').trim();
  } catch {
    return 'ok';
  }
};

const beside = (name) => path.join(__dirname, name);
const encrypted = fs.existsSync(beside('site.pem'));
const tls = () => ({ cert: fs.readFileSync(beside('site.pem')), key: fs.readFileSync(beside('site.key')) });

(encrypted ? https : http).createServer({ keepAlive: false, ...(encrypted ? tls() : {}) }, (request, response) => {
  let body = '';
  request.on('data', (chunk) => { body += chunk; });
  request.on('end', () => {
    const how = mode();
    const { method, url, headers } = request;
    const taken = how === 'ok' || how === 'late';
    fs.appendFileSync(log, `${JSON.stringify({ how, taken, method, url, headers, body, at: Date.now() })}\n`);
    const answer = (status, more = {}, text = `Cannot ${method} ${url}\n`) => {
      response.writeHead(status, more);
      response.end(text);
    };
    switch (how) {
      case 'ok': return answer(200, {}, 'ok');
      // It is told, and says so later.
      case 'late': return setTimeout(() => answer(200, {}, 'ok'), 300);
      case 'hang': return undefined;
      case '429': return answer(429, { 'Retry-After': '1' });
      case 'redirect': return answer(307, { Location: url });
      case 'headers': {
        const { socket } = request;
        socket.write('HTTP/1.1 200 OK\r\n');
        for (let i = 0; i < 10; i += 1) socket.write(`X-${i}: ${'x'.repeat(1 << 20)}\r\n`);
        return socket.end('\r\n');
      }
      case 'endless': {
        response.writeHead(500);
        const more = () => { if (!response.destroyed) response.write('x'.repeat(65536), more); };
        response.on('error', () => {});
        return more();
      }
      default: return answer(Number(how));
    }
  });
}).listen(9000, '127.0.0.1');
