// Shows the description that this gateway serves. A credential stays in the page, whether it was
// entered under "Authorize" or comes from a login here: it is sent to this host only and forgotten
// with the tab.
const OPEN_AT_FIRST = ["Authentication", "Records"];
const LOGINS = ["/api/v1/auth/login", "/api/v1/auth/refresh"];

function sayLoggedIn(user) {
  const line = document.getElementById("session");
  const name = user ? ` as ${user.name} (${user.email})` : "";
  line.textContent = `Logged in${name}. Requests on this page now carry the token.`;
  line.hidden = false;
}

window.ui = SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "none",
  filter: true,
  persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis],
  queryConfigEnabled: false,
  showCommonExtensions: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  onComplete: () => {
    if (location.hash.length < 2) {
      for (const tag of OPEN_AT_FIRST) {
        window.ui.layoutActions.show(["operations-tag", tag], true);
      }
      // Each of these has put its name into the address, which a reload would open alone.
      history.replaceState(null, "", location.pathname);
    }
  },
  responseInterceptor: (response) => {
    if (response.ok && LOGINS.includes(new URL(response.url, location.href).pathname)) {
      const session = JSON.parse(response.text);
      window.ui.preauthorizeApiKey("bearer", session.token);
      sayLoggedIn(session.user);
    }
    return response;
  },
});
