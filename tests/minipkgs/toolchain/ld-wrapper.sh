#!@shell@
# The linker, told where libc and dependencies are, and made to note where each library was found.
support=@out@/nix-support
before=() after=()
for flag in ${NIX_HARDENING_ENABLE-@default_hardening_flags_str@}; do
  case $flag in
    relro) before+=(-z relro) ;;
    bindnow) before+=(-z now) ;;
  esac
done
arguments=()
for argument; do
  # The compiler hands long command lines over in files.
  if [[ $argument == @* && -f ${argument#@} ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      line=${line#\"} line=${line%\"}
      arguments+=("${line//\\\\/\\}")
    done < "${argument#@}"
  else
    arguments+=("$argument")
  fi
done
if [[ -z ${NIX_LDFLAGS_SET_@suffixSalt@:-} ]]; then
  read -r loader < "$support/dynamic-linker"
  if [[ " ${arguments[*]} " != *" -shared "* && " ${arguments[*]} " != *" -r "* ]]; then
    before+=(-dynamic-linker "$loader")
  fi
  own=()
  read -r -d '' -a own < "$support/libc-ldflags" || true
  after+=(${NIX_BINTOOLS_WRAPPER_TARGET_HOST_@suffixSalt@:+${NIX_LDFLAGS:-}})
  after+=(${NIX_BINTOOLS_WRAPPER_TARGET_BUILD_@suffixSalt@:+${NIX_LDFLAGS_FOR_BUILD:-}})
  after+=("${own[@]}")
fi

# RUNPATH: the first folder on the search path that has a library which is linked to.
folders=() previous=
declare -A wanted=()
for argument in "${arguments[@]}" "${after[@]}"; do
  case $previous in
    -L) folders+=("$argument") ;;
    -l) wanted[lib$argument.so]=1 ;;
    -dynamic-linker | -plugin | -o | -m | -z | -soname | -h) ;;
    *)
      case $argument in
        -L?*) folders+=("${argument#-L}") ;;
        -l?*) wanted[lib${argument#-l}.so]=1 ;;
        "$NIX_STORE"/*.so | "$NIX_STORE"/*.so.*)
          folders+=("${argument%/*}")
          wanted[${argument##*/}]=1
          ;;
      esac
      ;;
  esac
  previous=$argument
done
declare -A noted=()
for folder in "${folders[@]}"; do
  [[ $folder == "$NIX_STORE"/* && -z ${noted[$folder]:-} ]] || continue
  if [[ $folder == */../* ]]; then
    folder=$(cd "$folder" 2>/dev/null && pwd -P) || continue
  fi
  for library in "${!wanted[@]}"; do
    if [[ -f $folder/$library ]]; then
      unset "wanted[$library]"
      if [[ -z ${noted[$folder]:-} ]]; then
        noted[$folder]=1
        after+=(-rpath "$folder")
      fi
    fi
  done
done
exec @prog@ "${before[@]}" "$@" "${after[@]}"
