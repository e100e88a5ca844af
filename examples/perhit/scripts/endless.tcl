# Never ends by itself, and catches whatever tries to end it.
while 1 {
    catch { while 1 {} }
}
