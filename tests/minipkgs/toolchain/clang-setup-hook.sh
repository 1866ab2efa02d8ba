# Setup hook of a wrapped clang: names it, and hands it the headers of dependencies.
export NIX_CC_WRAPPER_TARGET_${roleName}_@suffixSalt@=1
export "CC$role=@targetPrefix@clang"
eval "ccHeaders$role() {
  if [[ -d \$1/include ]]; then
    export NIX_CFLAGS_COMPILE$role=\"\${NIX_CFLAGS_COMPILE$role:-} -isystem \$1/include\"
  fi
}"
addEnvHooks "$targetOffset" "ccHeaders$role"
