"""`make chaos`: everything dies, in every order, under load; then the database alone says whether anything was lost."""
