/**
 * What V8 and the type stripper made of our modules is kept beside them, so that the next process need not do it again:
 * half of what a start costs. It stands in this package's own folder because it is as good as code: who may write it may
 * as well write the modules. Where that can't be written (a package that root installed for somebody else) nothing is
 * kept; NODE_COMPILE_CACHE names another folder. A process that ends by itself writes what it has learnt.
 *
 * The entry calls this before it imports the rest: what is imported at its head is read before any of it runs.
 */
import { constants, enableCompileCache } from 'node:module'
import { join } from 'node:path'

/** The package's folder: built, the modules lie one deeper. */
const PACKAGE = join(import.meta.dirname, import.meta.filename.endsWith('.ts') ? '..' : '../..')

export function useCompileCache(): void {
  if (process.env['NODE_COMPILE_CACHE'] !== undefined) return
  // Gives its failure as a result; it is an optimisation.
  const { status, directory } = enableCompileCache(join(PACKAGE, 'node_modules', '.cache', 'signalbox'))
  // For the workers and threads, whose entries then are in it as well.
  if (status === constants.compileCacheStatus.ENABLED && directory !== undefined) process.env['NODE_COMPILE_CACHE'] = directory
}
