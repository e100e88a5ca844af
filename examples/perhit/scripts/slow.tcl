# Takes ms milliseconds, as a hit does that waits for something.
after $ms
return "waited $ms ms"
