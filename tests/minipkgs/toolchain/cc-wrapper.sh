#!@shell@
# The compiler, told where libc, its own libraries and the dependencies are.
support=@out@/nix-support

# read FILE into an array, without a new process.
flags() {
  local -n into=$1
  into=()
  [[ ! -f $2 ]] || read -r -d '' -a into < "$2" || true
}

link=1
for argument; do
  case $argument in
    -c | -S | -E | -M | -MM | -fsyntax-only) link= ;;
  esac
done
# Questions (`-v`, `--version`, `-print-...`) are the compiler's to answer.
if (( $# == 0 )) || [[ $# == 1 && ( $1 == -v || $1 == --version || $1 == -dump* || $1 == -print-* ) ]]; then
  exec @prog@ "$@"
fi

compile=${NIX_CC_WRAPPER_TARGET_HOST_@suffixSalt@:+${NIX_CFLAGS_COMPILE:-}}
compile+=" ${NIX_CC_WRAPPER_TARGET_BUILD_@suffixSalt@:+${NIX_CFLAGS_COMPILE_FOR_BUILD:-}}"
linking=${NIX_CC_WRAPPER_TARGET_HOST_@suffixSalt@:+${NIX_LDFLAGS:-}}
linking+=" ${NIX_CC_WRAPPER_TARGET_BUILD_@suffixSalt@:+${NIX_LDFLAGS_FOR_BUILD:-}}"

flags libcFlags "$support/libc-cflags"
after=($compile "${libcFlags[@]}")
before=()
for flag in ${NIX_HARDENING_ENABLE-@default_hardening_flags_str@}; do
  case $flag in
    fortify) [[ " $* " != *" -O"[123s]* ]] || before+=(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2) ;;
    stackprotector) before+=(-fstack-protector-strong) ;;
    pic) [[ " $* " == *" -fno-"[pP][iI][cC]* ]] || before+=(-fPIC) ;;
  esac
done

if [[ -n $link ]]; then
  flags crt "$support/libc-crt1-cflags"
  flags libc "$support/libc-ldflags"
  flags own "$support/cc-ldflags"
  read -r loader < "$support/dynamic-linker"
  before+=("${crt[@]}")
  if [[ " $* " != *" -shared "* && " $* " != *" -static "* && " $* " != *" -r "* ]]; then
    before+=("-Wl,-dynamic-linker=$loader")
  fi
  for flag in $linking "${libc[@]}" "${own[@]}"; do
    case $flag in
      -L* | -B*) after+=("$flag") ;;
      *) after+=("-Wl,$flag") ;;
    esac
  done
  # The linker's wrapper, whichever it is, need not add them again.
  export NIX_LDFLAGS_SET_@suffixSalt@=1
fi

export PATH=@bintools@/bin:$PATH
exec @prog@ "${before[@]}" "$@" "${after[@]}"
