#!/usr/bin/env node
/** argv → command. The one place that sets the exit status. */
import { EarlySignals } from './early-signals.ts'

// First of all: reading the rest takes a while.
const signals = new EarlySignals()
const { useCompileCache } = await import('./compile-cache.ts')
useCompileCache()
const { program } = await import('./cli/program.ts')
process.exitCode = await program(process.argv.slice(2), process.env, signals)
// Whatever still holds the event loop (a client that keeps a connection) is not worth waiting for.
process.exit()
