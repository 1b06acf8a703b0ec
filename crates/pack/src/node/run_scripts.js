// Runs inside a build container, without network: one package's install scripts, then hands its directory out.
// argv: the package's directory, then event and command in turns. Leaves /out/package, a copy of
// the directory. Sockets and pipes are left behind.
'use strict';
const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');

// With `node -e` the words begin at 1. What a script prints is part of its complaint, should it fail.
const [home, ...rest] = process.argv.slice(1);
for (let at = 0; at < rest.length; at += 2) {
  const [event, command] = [rest[at], rest[at + 1]];
  const env = { ...process.env, npm_lifecycle_event: event, npm_lifecycle_script: command };
  const done = spawnSync('/bin/sh', ['-c', command], { cwd: home, env, stdio: ['ignore', 2, 2] });
  if (done.error || done.status !== 0) {
    console.error(`${event}: ${done.error ? done.error.message : done.signal || `exit code ${done.status}`}`);
    process.exit(1);
  }
}

function copy(from, to) {
  fs.mkdirSync(to);
  for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
    const [here, there] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (entry.isDirectory()) copy(here, there);
    else if (entry.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(here), there);
    else if (entry.isFile()) fs.copyFileSync(here, there);
  }
}
copy(home, '/out/package');
