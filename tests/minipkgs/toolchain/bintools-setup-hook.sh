# Setup hook of wrapped binutils: names them, and hands the linker the libraries of dependencies.
export NIX_BINTOOLS_WRAPPER_TARGET_${roleName}_@suffixSalt@=1
for tool in ar as ld nm objcopy objdump ranlib readelf size strings strip; do
  export "${tool^^}$role=@targetPrefix@$tool"
done
eval "bintoolsLibraries$role() {
  if [[ -d \$1/lib ]]; then
    export NIX_LDFLAGS$role=\"\${NIX_LDFLAGS$role:-} -L\$1/lib\"
  fi
}"
addEnvHooks "$targetOffset" "bintoolsLibraries$role"
