declare module 'node-gyp-build' {
  function load(dir: string): unknown
  namespace load {
    /** The file that `load` takes, by its place and name alone. @throws when there is none for this platform. */
    function resolve(dir: string): string
  }
  export default load
}
