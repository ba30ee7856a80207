#!/usr/bin/env node
/** argv → command. The one place that sets the exit status. */
import { useCompileCache } from './compile-cache.ts'

useCompileCache()
const { program } = await import('./cli/program.ts')
process.exitCode = await program(process.argv.slice(2), process.env)
// Whatever still holds the event loop (a client that keeps a connection) is not worth waiting for.
process.exit()
