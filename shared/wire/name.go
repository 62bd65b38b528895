package wire

// ControllerName is the host name by which whoever knows the installation's own authority, and nothing else, asks a controller for the
// certificate of that authority: a controller may show the world another one. It is in no DNS. The brokers' certificates do not
// have it, so that no broker can pass for a controller.
const ControllerName = "controller.devflow.internal"
