import io.netty.channel.ChannelHandlerContext;
import org.apache.rocketmq.auth.authentication.context.DefaultAuthenticationContext;
import org.apache.rocketmq.auth.authentication.exception.AuthenticationException;
import org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/**
 * Apache brokers leave the tokens of temporary credentials to providers of their own, and bring none that looks at them. This one refuses
 * tokens that begin with "expired", and is otherwise the broker's.
 */
public final class ExpiringTokens extends DefaultAuthenticationProvider {
    @Override
    public DefaultAuthenticationContext newContext(ChannelHandlerContext context, RemotingCommand command) {
        String token = command.getExtFields() == null ? null : command.getExtFields().get("SecurityToken");
        if (token != null && token.startsWith("expired")) {
            throw new AuthenticationException("The security token has expired.");
        }
        return super.newContext(context, command);
    }
}
