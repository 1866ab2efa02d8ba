# Setup hook of a wrapped Fortran compiler: names it; the C compiler beside it stays the standard one.
export "FC$role=@targetPrefix@gfortran" "F77$role=@targetPrefix@gfortran"
