! Adds up what it is given: the language's own library reads and prints.
program summed
  implicit none
  real :: value, total
  integer :: status
  total = 0
  do
    read (*, *, iostat=status) value
    if (status /= 0) exit
    total = total + value
  end do
  print '(f0.2)', total
end program summed
