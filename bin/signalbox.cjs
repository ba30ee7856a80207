#!/usr/bin/env node
'use strict'
// The command as it is installed. Its only work is to tell somebody with an old Node.js so, in one sentence: the program
// itself would fail there while it is being read, with a stack trace. Hence its old-fashioned JavaScript.
var LEAST = 24

if (Number(process.versions.node.split('.')[0]) < LEAST) {
  process.stderr.write(
    'signalbox needs Node.js ' + LEAST + ' or newer; this is ' + process.version + ' (' + process.execPath + ')\n',
  )
  process.exitCode = 1
} else {
  // As early as can be: else the signal opens a debugger's port while the program is being read.
  process.on('SIGUSR1', function () {})
  // What goes wrong in there ends the process by itself.
  void import('../dist/src/main.js')
}
