// An issuer to sign in at: oidc-provider, certified by the OpenID Foundation, with one client and some accounts.
//
// Reads REDIRECT_URI (of the review page), CLIENT_ID, CLIENT_SECRET (empty: a public client), ANALYST (an address), CLAIMS
// (`userinfo`: tokens do not say the address, only the userinfo endpoint does), PORT (0 or absent: any free one). Says where
// it listens as one JSON document on standard output, {"issuer": "http://localhost:…"}, and ends with its standard input.
// The name is localhost, so that it is another site than a page on 127.0.0.1.
//
// Accounts: `analyst`; `somebody-else` and `unverified`, who are honest and not her; `wrong-audience` and `expired`, for
// whom the token endpoint hands out tokens that say they are the analyst's, are validly signed, and must not be taken.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { decodeJwt, importJWK, SignJWT } from "jose";
import Provider from "oidc-provider";

const { REDIRECT_URI, CLIENT_ID, CLIENT_SECRET, ANALYST, CLAIMS, PORT } = process.env;

const ACCOUNTS = {
  analyst: { email: ANALYST, email_verified: true },
  "somebody-else": { email: "somebody-else@soc.example", email_verified: true },
  unverified: { email: ANALYST, email_verified: false },
  "wrong-audience": { email: ANALYST, email_verified: true },
  expired: { email: ANALYST, email_verified: true },
};

/** How the claims of an account's tokens differ from honest ones. */
const CRAFTED = {
  "wrong-audience": () => ({ aud: "another-application" }),
  expired: (claims) => ({ iat: claims.iat - 7_200, exp: claims.iat - 3_600 }),
};

const jwk = { ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }) };
Object.assign(jwk, { kid: "issuer-key", use: "sig", alg: "RS256" });
const key = await importJWK(jwk, "RS256");

const server = createServer();
await new Promise((resolve) => server.listen(Number(PORT ?? 0), "127.0.0.1", resolve));
const host = `localhost:${server.address().port}`;

const provider = new Provider(`http://${host}`, {
  jwks: { keys: [jwk] },
  cookies: { keys: [randomBytes(32).toString("hex")] },
  clients: [
    {
      client_id: CLIENT_ID,
      redirect_uris: [REDIRECT_URI],
      response_types: ["code"],
      grant_types: ["authorization_code"],
      ...(CLIENT_SECRET ? { client_secret: CLIENT_SECRET } : { token_endpoint_auth_method: "none" }),
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["preferred_username"] },
  conformIdTokenClaims: CLAIMS === "userinfo",
  features: { devInteractions: { enabled: false } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, ...ACCOUNTS[id] }),
  }),
  interactions: { url: (_, interaction) => `/login/${interaction.uid}` },
  // The one client is our own page: nobody is asked whether it may know who they are.
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid email profile");
    await grant.save();
    return grant;
  },
  ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 600, IdToken: 300, Interaction: 600, Session: 3_600 },
});

provider.use(async (ctx, next) => {
  await next();
  const craft = CRAFTED[ctx.oidc?.entities.Account?.accountId];
  if (ctx.oidc?.route !== "token" || !ctx.body?.id_token || !craft) return;
  const claims = decodeJwt(ctx.body.id_token);
  const crafted = new SignJWT({ ...claims, ...craft(claims) });
  ctx.body.id_token = await crafted.setProtectedHeader({ alg: "RS256", typ: "JWT", kid: jwk.kid }).sign(key);
});

const page = (problem) => `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Sign in</title></head>
<body><main>
<h1>Sign in</h1>
${problem ? `<p role="alert">${problem}</p>` : ""}
<form method="post">
<p><label for="account">Account</label> <input id="account" name="account" autocomplete="username" autofocus required></p>
<p><button type="submit">Sign in</button> <button type="submit" name="cancel" value="yes" formnovalidate>Cancel</button></p>
</form>
</main></body>
</html>`;

async function login(request, response) {
  const answer = (problem) => {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" });
    response.end(page(problem));
  };
  await provider.interactionDetails(request, response);
  if (request.method !== "POST") return answer("");
  let body = "";
  for await (const chunk of request) body += chunk;
  const form = new URLSearchParams(body);
  const account = form.get("account");
  if (form.has("cancel")) {
    return provider.interactionFinished(request, response, { error: "access_denied" });
  }
  if (!Object.hasOwn(ACCOUNTS, account)) return answer("There is no such account.");
  return provider.interactionFinished(request, response, { login: { accountId: account } });
}

const callback = provider.callback();
server.on("request", (request, response) => {
  // By whatever name somebody has come: its own documents spell it as it is called.
  request.headers.host = host;
  if (!request.url.startsWith("/login/")) return callback(request, response);
  login(request, response).catch((error) => {
    response.writeHead(400, { "content-type": "text/plain" });
    response.end(`${error.name}: ${error.message}`);
  });
});

console.log(JSON.stringify({ issuer: `http://${host}` }));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
