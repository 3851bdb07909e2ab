// Shows the description that this gateway serves. A credential entered under "Authorize" stays in
// the page: it is sent to this host only and forgotten with the tab.
window.ui = SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "none",
  filter: true,
  persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis],
  queryConfigEnabled: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
