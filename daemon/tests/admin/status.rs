//! `status` at 3 a.m.: exactly what is on the screen, for each kind of trouble.
