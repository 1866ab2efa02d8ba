# What the package that is being activated makes code for, as seen from this build.
case $targetOffset in
  -1) role=_FOR_BUILD roleName=BUILD ;;
  0) role= roleName=HOST ;;
  1) role=_FOR_TARGET roleName=TARGET ;;
esac
