// A place where a test may stop a thread: between two shared accesses of the stripe protocol.
// In the shipped module this is nothing; the test build (asc --use COREWAL_POINTS=…) imports a hook.

// @ts-ignore: decorator
@external("env", "point")
declare function hook(step: i32): void;

// @ts-ignore: decorator
@inline
export function point(step: i32): void {
  // @ts-ignore: defined by --use only
  if (isDefined(COREWAL_POINTS)) hook(step);
}
