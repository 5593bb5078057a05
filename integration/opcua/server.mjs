// An OPC UA server that shares no code with edgefleet's driver: node-opcua,
// with a small plant. It prints one line of JSON when it is ready, and ends
// when its standard input does.
//
//   node server.mjs FOLDER [TRUSTED.der ...]
//
// FOLDER takes its certificate and its lists of trusted clients. A client or
// user whose certificate is not among the trusted ones is refused.
import { createRequire } from "node:module";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";

// The module stands where it was installed, which need not be beside this file.
const require = createRequire(path.join(process.env.EDGEFLEET_OPCUA_PEER ?? process.cwd(), "package.json"));
const ua = require("node-opcua");

const [folder, ...trusted] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const clients = new ua.OPCUACertificateManager({ rootFolder: path.join(folder, "clients"), automaticallyAcceptUnknownCertificate: false });
const users = new ua.OPCUACertificateManager({ rootFolder: path.join(folder, "users"), automaticallyAcceptUnknownCertificate: false });
await clients.initialize();
await users.initialize();
for (const file of trusted) {
  await clients.trustCertificate(readFileSync(file));
  await users.trustCertificate(readFileSync(file));
}

const server = new ua.OPCUAServer({
  port: 0,
  hostname: "127.0.0.1",
  resourcePath: "/plant",
  serverInfo: { applicationUri: "urn:edgefleet:test:peer", productUri: "urn:edgefleet:test:product" },
  buildInfo: { productName: "edgefleet peer", manufacturerName: "edgefleet", softwareVersion: "1.2.3", buildNumber: "42" },
  serverCertificateManager: clients,
  userCertificateManager: users,
  securityPolicies: [ua.SecurityPolicy.Basic256Sha256, ua.SecurityPolicy.Aes128_Sha256_RsaOaep, ua.SecurityPolicy.Aes256_Sha256_RsaPss],
  securityModes: [ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt],
  allowAnonymous: false,
  userManager: { isValidUser: (name, password) => name === "operator" && password === "correct horse: bätterie" },
  serverCapabilities: { maxSessions: 100, operationLimits: { maxNodesPerRead: 60, maxNodesPerWrite: 60 } },
});
await server.initialize();

const space = server.engine.addressSpace;
const namespace = space.registerNamespace("urn:edgefleet:test:plant");
const plant = namespace.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant", nodeId: "s=Plant" });

const initial = {
  Boolean: true, SByte: -5, Byte: 200, Int16: -30000, UInt16: 60000, Int32: -2000000000, UInt32: 4000000000,
  Int64: [0, 5], UInt64: [0, 6], Float: 0.5, Double: 50.1, String: "première",
};
for (const [type, value] of Object.entries(initial)) {
  namespace.addVariable({ componentOf: plant, browseName: type, nodeId: "s=" + type, dataType: type,
    value: { dataType: ua.DataType[type], arrayType: ua.VariantArrayType.Scalar, value } });
}
namespace.addVariable({ componentOf: plant, browseName: "Duration", nodeId: "s=Duration", dataType: "Duration",
  value: { dataType: ua.DataType.Double, value: 1500 } });
namespace.addVariable({ componentOf: plant, browseName: "Any", nodeId: "s=Any", dataType: "Number",
  value: { dataType: ua.DataType.UInt16, value: 1 } });
namespace.addVariable({ componentOf: plant, browseName: "Numbered", nodeId: "i=1001", dataType: "UInt16",
  value: { dataType: ua.DataType.UInt16, value: 1001 } });
namespace.addVariable({ componentOf: plant, browseName: "Array", nodeId: "s=Array", dataType: "Int32", valueRank: 1,
  value: { dataType: ua.DataType.Int32, arrayType: ua.VariantArrayType.Array, value: [1, 2, 3] } });
namespace.addVariable({ componentOf: plant, browseName: "ReadOnly", nodeId: "s=ReadOnly", dataType: "UInt16",
  accessLevel: "CurrentRead", userAccessLevel: "CurrentRead", value: { dataType: ua.DataType.UInt16, value: 9 } });
// A set point that the device itself bounds to 0 to 100.
let percent = 50;
namespace.addVariable({ componentOf: plant, browseName: "Percent", nodeId: "s=Percent", dataType: "UInt16", minimumSamplingInterval: 100,
  value: {
    get: () => new ua.Variant({ dataType: ua.DataType.UInt16, value: percent }),
    set: (variant) => {
      if (variant.value > 100) return ua.StatusCodes.BadOutOfRange;
      percent = variant.value;
      return ua.StatusCodes.Good;
    },
  } });
const many = namespace.addObject({ componentOf: plant, browseName: "Many", nodeId: "s=Many" });
for (let i = 0; i < 150; i++) {
  namespace.addVariable({ componentOf: many, browseName: `P${i}`, nodeId: `s=P${i}`, dataType: "Int32", value: { dataType: ua.DataType.Int32, value: i } });
}
let restarts = 0;
const restart = namespace.addMethod(plant, {
  browseName: "Restart", nodeId: "s=Restart",
  inputArguments: [{ name: "Delay", dataType: ua.DataType.UInt16 }, { name: "Why", dataType: ua.DataType.String }],
  outputArguments: [{ name: "Restarts", dataType: ua.DataType.UInt32 }, { name: "Told", dataType: ua.DataType.String }],
});
restart.bindMethod(async (args, _context) => {
  if (args[0].value > 600) return { statusCode: ua.StatusCodes.BadOutOfRange };
  restarts++;
  return { statusCode: ua.StatusCodes.Good, outputArguments: [
    { dataType: ua.DataType.UInt32, value: restarts },
    { dataType: ua.DataType.String, value: `${args[1].value} in ${args[0].value} s` },
  ] };
});

await server.start();
const certificate = server.getCertificate();
process.stdout.write(JSON.stringify({
  port: server.endpoints[0].port,
  sha256: createHash("sha256").update(certificate).digest("hex"),
  sha1: createHash("sha1").update(certificate).digest("hex"),
}) + "\n");

process.stdin.resume();
process.stdin.on("end", async () => {
  await server.shutdown(0);
  process.exit(0);
});
