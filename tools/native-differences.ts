/**
 * Builtins that OPA compiles into the module itself, that answer there otherwise than in `opa eval`, and that the host
 * does not answer in their place (`NATIVES`). By OPA 1.22.2; what is not here is the same in the differential suite.
 */
export const NATIVE_DIFFERENCES: Readonly<Record<string, string>> = {}
