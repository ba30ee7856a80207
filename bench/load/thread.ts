/** Entry of a generator thread: a job comes in, its outcome goes out. */
import { parentPort, workerData } from 'node:worker_threads'
import type { Job } from './job.ts'
import { Work } from './work.ts'

const port = parentPort
if (port === null) throw new Error('this is a thread of the load generator')
const work = new Work(Number(workerData))
port.on('message', (job: Job) => {
  void work.run(job).then((outcome) => port.postMessage(outcome))
})
