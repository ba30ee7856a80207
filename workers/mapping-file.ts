/** Entry of the threads that read, sort and write mapping files; the work is in src/mapping/file/. */
export { answer as default } from '../src/mapping/file/tasks.ts'
