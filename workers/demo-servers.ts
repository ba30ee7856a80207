/** Entry point of the process that holds the demo's two mail servers. */
import { serveDemo } from '../src/demo/servers.ts'

serveDemo(process)
