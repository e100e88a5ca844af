# Fails on purpose, two procedures deep.
proc price item { error "no price for $item" }
proc total items { foreach item $items { price $item } }
total $item
