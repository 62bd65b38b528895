package main

// Command makes the program's commands.
var Command = command
