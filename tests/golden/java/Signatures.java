import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Signs the requests of tests/golden/signatures.py, one a line, with Java's own hook. */
public class Signatures {
    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] groups = line.split("\t", -1);
            String[] keys = groups[1].split(",");
            HashMap<String, String> fields = new HashMap<>();
            String[] texts = groups[3].isEmpty() ? new String[0] : groups[3].split(",");
            for (int i = 0; i < texts.length; i += 2) {
                fields.put(text(texts[i]), text(texts[i + 1]));
            }
            RemotingCommand command = RemotingCommand.createRequestCommand(Integer.parseInt(groups[0]), null);
            command.setExtFields(fields);
            byte[] body = bytes(groups[2]);
            if (body.length > 0) {
                command.setBody(body);
            }
            SessionCredentials credentials = keys.length > 2
                ? new SessionCredentials(text(keys[0]), text(keys[1]), text(keys[2]))
                : new SessionCredentials(text(keys[0]), text(keys[1]));
            new AclClientRPCHook(credentials).doBeforeRequest("127.0.0.1:10911", command);
            System.out.println("{\"signature\":\"" + command.getExtFields().get("Signature") + "\"}");
        }
    }

    private static byte[] bytes(String text) {
        return text.equals("-") ? new byte[0] : Base64.getDecoder().decode(text);
    }

    private static String text(String text) {
        return new String(bytes(text), StandardCharsets.UTF_8);
    }
}
