'use strict';
// A parent that serves nothing itself: its child does, and lives on when only the parent is killed
// (KillMode=process). The parent ends as its child does.
const { spawn } = require('child_process');

const child = spawn(process.execPath, ['server.js'], { stdio: 'inherit' });
child.on('exit', (code) => process.exit(code === null ? 1 : code));
