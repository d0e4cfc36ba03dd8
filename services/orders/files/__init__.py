"""Files of orders: taken in, mapped, and brought in order by order."""
