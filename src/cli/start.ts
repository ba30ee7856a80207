/** `npm start`: the command line, with the demo where no configuration is named. */
import { useCompileCache } from '../compile-cache.ts'

useCompileCache()
const { program } = await import('./program.ts')
const args = process.argv.slice(2)
process.exitCode = await program(args.length === 0 ? ['demo'] : args, process.env)
