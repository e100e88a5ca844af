# The Fibonacci number of x, the slow way.
proc fib n {
    expr {$n < 2 ? $n : [fib [expr {$n - 1}]] + [fib [expr {$n - 2}]]}
}
fib $x
