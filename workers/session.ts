/** Entry point of a cluster worker. No logic: src/worker/process.ts knows how a worker lives. */
import { runWorker } from '../src/worker/process.ts'

runWorker()
